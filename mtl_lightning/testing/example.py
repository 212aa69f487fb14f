"""Small data of every kind for the contracts: tasks, schemas, batches, targets, predictions.

Shapes: B rows, K width of a label.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mtl_lightning.batch import Batch, Steps, Target
from mtl_lightning.schema import Field, Schema, Task
from mtl_lightning.task_kinds import task_kind

RAW = ("position", "duration", "oracle", "delay", "elapsed", "treatment", "teacher")


def example_task(kind: str = "binary", name: str = "click", **options: Any) -> Task:
    """A task of a kind; binary and multilabel ones have true probabilities, in raw columns called ``oracle…``.

    Example:
        >>> example_task("multiclass").classes
        4
    """
    traits = task_kind(kind)
    classes = 3 if traits.several else 4 if traits.fits_classes else 1
    oracle = "oracle" if traits.probability or traits.difference else None
    return Task(name=name, kind=kind, label=name, **({"classes": classes, "oracle": oracle} | options))


def example_schema(tasks: Sequence[Task] = (), kinds: Sequence[str] = ("categorical", "numeric", "sequence")) -> Schema:
    """A schema with two fields of each kind; sequences and one history share the table of ``item``.

    Args:
        tasks: Its tasks; three binary ones by default.
        kinds: Kinds of fields.

    Example:
        >>> [field.name for field in example_schema(kinds=["categorical", "vector"]).fields]
        ['user', 'item', 'image', 'text']
    """
    fields = {
        "categorical": (("user", 20, "user"), ("item", 30, "item")),
        "numeric": (("price", 1, ""), ("age", 1, "")),
        "sequence": (("history", 30, "item"), ("basket", 30, "item")),
        "vector": (("image", 3, ""), ("text", 2, "")),
    }
    chosen_fields = [
        Field(name=name, kind=kind, size=size, table=table, length=5 if kind == "sequence" else 0)
        for kind in kinds
        for name, size, table in fields.get(kind, ())
    ]
    chosen_fields += _example_histories() if "history" in kinds else []
    chosen = tuple(tasks) or tuple(example_task(name=name) for name in ("click", "cart", "buy"))
    raw = dict.fromkeys([*RAW, *(name for task in chosen for name in task.oracles)])
    return Schema(tuple(chosen_fields), chosen, group="user", raw=tuple(raw))


def _example_histories() -> list[Field]:
    """One that carries ids with and without a shared table, a number and gaps, and one of ids alone."""
    item = Field(name="item", kind="categorical", size=30, table="item")
    shop = Field(name="shop", kind="categorical", size=12, table="clicks.shop")
    price = Field(name="price", kind="numeric", edges=(-1.0, 0.0, 1.0))
    return [
        Field(name="clicks", kind="history", length=12, steps=(item, shop, price), gap=True),
        Field(name="visits", kind="history", length=5, steps=(replace(shop, table="visits.shop"),)),
    ]


def example_steps(field: Field, rows: int, generator: torch.Generator) -> Steps:
    """Steps of a history of every length from 0 on, some ids of which are missing.

    Example:
        >>> clicks = example_schema(kinds=["history"]).field("clicks")
        >>> example_steps(clicks, 3, torch.Generator().manual_seed(0)).ids.shape
        torch.Size([3, 8, 2])
    """
    width = min(field.length, 8)
    length = torch.arange(rows) % (width + 1)
    known = torch.arange(width) < length[:, None]
    sizes = [step.size for step in field.steps_of_kind("categorical")]
    ids = torch.stack([torch.randint(0, size, known.shape, generator=generator) for size in sizes], 2)
    numbers = torch.randn(*known.shape, len(field.steps_of_kind("numeric")), generator=generator)
    gap = torch.where(known, torch.rand(known.shape, generator=generator) * 1e6, 0.0) if field.gap else None
    return Steps(ids * known[:, :, None], numbers * known[:, :, None], length, gap)


def example_raw(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Raw columns, each [B] float64: position 1 to 10, duration 1 to 100, oracle, treatment, teacher.

    The times ``delay`` and ``elapsed`` are in seconds, up to 2 and 12 days.
    """
    uniform = torch.rand(3, rows, generator=generator, dtype=torch.float64)
    position, duration = 1 + (uniform[0] * 10).floor(), 1 + uniform[1] * 99
    further = {
        "delay": 1800 * duration,
        "elapsed": 1800 * duration + 86_400 * position,
        "teacher": uniform[1],
        "treatment": (uniform[0] < 0.5).double(),
    }
    return {"position": position, "duration": duration, "oracle": uniform[2], **further}


def example_label(task: Task, rows: int, generator: torch.Generator) -> Tensor:
    """Labels of a task, [B, K] float."""
    uniform = torch.rand(rows, task.width, generator=generator)
    traits, valid = task.traits, task.label_range
    if valid.whole and (traits.probability or traits.difference):
        return (uniform < 0.5).float()
    if traits.fits_classes:
        return (uniform * task.classes).floor()
    normal = torch.randn(rows, task.width, generator=generator)
    if math.isfinite(valid.lowest) and math.isfinite(valid.highest):
        label = valid.lowest + uniform * (valid.highest - valid.lowest)
        return label.round() if valid.whole else label
    if valid.whole:
        return (uniform * 5).floor()
    return normal if math.isinf(valid.lowest) else valid.lowest + torch.where(uniform < 0.5, normal.exp(), 0.0)


def example_target(task: Task, rows: int = 24, seed: int = 0, *, weights: bool = False) -> Target:
    """A target in which a third of the labels is unknown, with four groups and all raw columns."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(rows) % 3 != 2
    label = torch.where(mask[:, None], example_label(task, rows, generator), 0.0)
    weight = torch.rand(rows, generator=generator) + 0.5 if weights else None
    raw = example_raw(rows, generator)
    for name in task.oracles:
        if name not in raw:
            raw[name] = torch.rand(rows, generator=generator, dtype=torch.float64)
    details = {"treatment": raw["treatment"]} if task.traits.difference else {}
    return Target(label=label, mask=mask, weight=weight, group=torch.arange(rows) % 4, raw=raw, details=details)


def example_prediction(task: Task, rows: int = 24, seed: int = 0) -> Tensor:
    """Predictions that a head of the task's kind could make: [B], or [B, K] for several classes."""
    generator = torch.Generator().manual_seed(seed)
    traits = task.traits
    valid = traits.predicted if traits.difference else task.label_range
    normal = torch.randn(rows, 1 if traits.scalar else task.classes, generator=generator)
    if not traits.scalar:
        return normal.sigmoid() if traits.probability else normal.softmax(1)
    if math.isfinite(valid.lowest) and math.isfinite(valid.highest):
        return valid.lowest + normal[:, 0].sigmoid() * (valid.highest - valid.lowest)
    return normal[:, 0] if math.isinf(valid.lowest) else valid.lowest + normal[:, 0].exp()


def example_requests(batch: Batch) -> Batch:
    """The rows of a batch in requests of three, in which every second field of each kind is constant.

    Example:
        >>> requests = example_requests(example_batch(example_schema(kinds=["categorical", "history"])))
        >>> requests.request.tolist(), requests.steps["visits"].length.shape, requests.steps["clicks"].length.shape
        ([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], torch.Size([4]), torch.Size([12]))
    """
    kinds: dict[str, list[str]] = {}
    for field in batch.schema.fields:
        kinds.setdefault(field.kind, []).append(field.name)
    once = {name for names in kinds.values() for name in names[1::2]}
    fields = tuple(replace(field, per_request=field.name in once) for field in batch.schema.fields)
    schema = replace(batch.schema, fields=fields)
    request = torch.arange(len(batch)) // 3
    first = torch.arange(0, len(batch), 3)

    def packed(part: Tensor, columns: dict[str, int]) -> Tensor:
        shared = torch.tensor([name in once for name in columns], dtype=torch.bool)
        return torch.where(shared, part[first][request], part)

    def wide(parts: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: part[first] if name in once else part for name, part in parts.items()}

    steps = {name: part.map(lambda rows: rows[first]) if name in once else part for name, part in batch.steps.items()}
    return replace(
        batch,
        schema=schema,
        ids=packed(batch.ids, schema.id_columns),
        dense=packed(batch.dense, schema.dense_columns),
        sequences=wide(batch.sequences),
        vectors=wide(batch.vectors),
        steps=steps,
        request=request,
        request_row=first,
    )


def perfect_prediction(task: Task, target: Target) -> Tensor:
    """Predictions that follow the labels, [B] or [B, K]: the labels, one-hot classes, or the signed labels of effects.

    Example:
        >>> effect = example_task("uplift")
        >>> set(perfect_prediction(effect, example_target(effect)).tolist()) == {-1.0, 0.0, 1.0}
        True
    """
    label = target.label
    if not (task.traits.scalar or task.traits.several):
        label = torch.nn.functional.one_hot(label[:, 0].long(), task.classes).float()
    if task.traits.difference:
        label = label * (2 * target.raw["treatment"][:, None] - 1)
    return label if label.shape[1] > 1 else label[:, 0]


def example_batch(schema: Schema, rows: int = 12, seed: int = 0) -> Batch:
    """A batch with missing and unknown ids, empty sequences, and a third of the labels unknown.

    Example:
        >>> example_batch(example_schema(), rows=4).ids.shape
        torch.Size([4, 2])
    """
    generator = torch.Generator().manual_seed(seed)

    def ids(field: Field, width: int) -> Tensor:
        return torch.randint(2, field.size, (rows, width), generator=generator)

    columns = [ids(field, 1) for field in schema.of_kind("categorical")]
    categorical = torch.cat(columns, 1) if columns else torch.zeros(rows, 0, dtype=torch.int64)
    categorical[: rows // 6] = 0
    categorical[rows // 6 : rows // 3] = 1
    sequences = {}
    for field in schema.of_kind("sequence"):
        steps = torch.randint(0, field.length + 1, (rows, 1), generator=generator)
        sequences[field.name] = torch.where(torch.arange(field.length) < steps, ids(field, field.length), 0)
    targets = [example_target(task, rows, seed + 1 + i) for i, task in enumerate(schema.tasks)]
    return Batch(
        schema=schema,
        ids=categorical,
        dense=torch.randn(rows, len(schema.of_kind("numeric")), generator=generator),
        sequences=sequences,
        steps={f.name: example_steps(f, rows, generator) for f in schema.of_kind("history")},
        vectors={f.name: torch.randn(rows, f.size, generator=generator) for f in schema.of_kind("vector")},
        labels=torch.cat([target.label for target in targets], 1),
        mask=torch.stack([target.mask for target in targets], 1),
        group=torch.arange(rows) % 4,
        raw={name: column for target in targets for name, column in target.raw.items()} | example_raw(rows, generator),
    )
