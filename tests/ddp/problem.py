"""A small float64 problem with tables, masks, weights and a funnel, in global batches for any number of processes."""

import torch

from mtl_lightning.batch import Batch
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.testing import example_steps

SCHEMA = Schema(
    (
        Field(name="user", kind="categorical", size=30, table="user"),
        Field(name="item", kind="categorical", size=20, table="item"),
        Field(name="price", kind="numeric"),
        Field(name="history", kind="sequence", size=20, table="item", length=3),
    ),
    (
        Task(name="click", kind="binary", label="click"),
        Task(name="conversion", kind="binary", label="conversion", parents=("click",)),
        Task(name="dwell", kind="regression", label="dwell", observed_when="click == 1"),
    ),
    group="user",
)
SHOP = Field(name="shop", kind="categorical", size=8, table="clicks.shop")
PAID = Field(name="paid", kind="numeric", edges=(-0.5, 0.0, 0.5))
CLICKS = Field(name="clicks", kind="history", length=6, steps=(SCHEMA.field("item"), SHOP, PAID), gap=True)
WITH_HISTORY = Schema((*SCHEMA.fields, CLICKS), SCHEMA.tasks, group="user")
PREFERENCE = Field(name="preference", kind="vector", size=3, tasks=("dwell", "click", "conversion"))
WITH_PREFERENCE = Schema((*SCHEMA.fields, PREFERENCE), SCHEMA.tasks, group="user")
ROWS = 47
"""Odd on purpose: the processes' parts differ in size."""


def global_batch(index: int, rows: int = ROWS) -> Batch:
    """Batch ``index``; of every third one the first half, so half of the processes, has no dwell label."""
    generator = torch.Generator().manual_seed(index)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    user, item = (torch.randint(0, size, (rows,), generator=generator) for size in (30, 20))
    click = (draw(rows) < 0.3 + 0.02 * (user % 10)).double()
    conversion = click * (draw(rows) < 0.4)
    dwell = 1.0 + 0.1 * item + draw(rows)
    mask = torch.stack([draw(rows) < 0.9, torch.ones(rows, dtype=torch.bool), click.bool()], dim=1)
    if index % 3 == 0:
        mask[: rows // 2 + 1, 2] = False
    if index % 7 == 5:
        mask[:, 0] = False
    labels = torch.stack([click, conversion, dwell], dim=1) * mask
    steps = example_steps(CLICKS, rows, torch.Generator().manual_seed(index))
    return Batch(
        schema=Schema((*WITH_HISTORY.fields, PREFERENCE), SCHEMA.tasks, group="user"),
        steps={"clicks": steps.map(lambda part: part.double() if part.is_floating_point() else part)},
        ids=torch.stack([user, item], dim=1),
        dense=draw(rows, 1) - 0.5,
        labels=labels,
        mask=mask,
        sequences={"history": torch.randint(0, 20, (rows, 3), generator=generator)},
        weight=0.5 + draw(rows, 3),
        group=user,
        raw={"delay": 0.2 + 0.05 * item.double(), "elapsed": 1.5 + 0.1 * user.double(), "teacher": 0.1 + 0.04 * item},
    )


class GlobalBatches:
    """A loader of one process's contiguous part of every global batch."""

    def __init__(self, count: int, rank: int = 0, world: int = 1, dtype: torch.dtype = torch.float64) -> None:
        self.count, self.rank, self.world, self.dtype = count, rank, world, dtype

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        for index in range(self.count):
            whole = global_batch(index)
            start, stop = (len(whole) * part // self.world for part in (self.rank, self.rank + 1))
            cut = lambda tensor: tensor[start:stop].to(self.dtype if tensor.is_floating_point() else tensor.dtype)  # noqa: B023, E731
            yield whole.map(cut)
