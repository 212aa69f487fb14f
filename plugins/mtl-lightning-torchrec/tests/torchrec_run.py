"""Trains one case of the plugin's tests, in this process or in each of several gloo processes.

Usage: ``python torchrec_run.py CASE.json OUT`` with torchrun's variables, or without them for one process. The case
holds ``encoder``, ``optimizer``, ``steps``, and optionally ``load`` and ``save`` (folders of shards), ``dense`` (a file
of results whose dense weights are the first ones), ``tables`` (the first ones of core's encoder) and ``rows``.
"""

import json
import os
import resource
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from mtl_lightning.batch import Batch
from mtl_lightning.build import build_module
from mtl_lightning.fitting.children import leave
from mtl_lightning.schema import Field, Schema, Task

ROWS = 47
"""Odd on purpose: the processes' parts differ in size."""


def schema(rows: int) -> Schema:
    """Two vocabularies, one of them shared with a sequence, and two tasks."""
    return Schema(
        (
            Field(name="user", kind="categorical", size=rows, table="user"),
            Field(name="item", kind="categorical", size=rows // 2, table="item"),
            Field(name="price", kind="numeric"),
            Field(name="history", kind="sequence", size=rows // 2, table="item", length=3),
        ),
        (
            Task(name="click", kind="binary", label="click"),
            Task(name="like", kind="binary", label="like", parents=("click",)),
        ),
    )


class Batches:
    """One process's contiguous part of every global batch; ids reach over the whole vocabulary."""

    def __init__(self, schema: Schema, count: int, rank: int, world: int, rows: int = ROWS) -> None:
        self.schema, self.count, self.rank, self.world, self.rows = schema, count, rank, world, rows

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        for index in range(self.count):
            random = torch.Generator().manual_seed(index)
            user, item = (
                torch.randint(0, self.schema.field(name).size, (self.rows,), generator=random)
                for name in ("user", "item")
            )
            labels = (torch.rand(self.rows, 2, generator=random) < 0.4).float()
            mask = torch.rand(self.rows, 2, generator=random) < 0.8
            history = torch.randint(0, self.schema.field("item").size, (self.rows, 3), generator=random)
            history[:, 2] *= torch.rand(self.rows, generator=random) < 0.5
            batch = Batch(
                schema=self.schema,
                ids=torch.stack([user, item], dim=1),
                dense=torch.rand(self.rows, 1, generator=random),
                labels=labels * mask,
                mask=mask,
                sequences={"history": history},
            )
            start, stop = (self.rows * part // self.world for part in (self.rank, self.rank + 1))
            yield batch.map(lambda tensor, a=start, b=stop: tensor[a:b])


def main() -> None:
    """Train, and write dense weights, tables (gathered through a checkpoint) and peak memory."""
    torch.set_num_threads(1)
    case = json.loads(Path(sys.argv[1]).read_text())
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    seed_everything(3, verbose=False)
    chosen = schema(case.get("rows", 40))
    module = build_module(
        chosen,
        encoder=case["encoder"],
        architecture=case.get("architecture", {"name": "mmoe", "experts": 3, "hidden": [8]}),
        weighter=case.get("weighter", "pcgrad"),
        optimizer=case["optimizer"],
    )
    encoder = module.network.encoder
    if case.get("dense"):
        module.load_state_dict(torch.load(case["dense"], weights_only=True)["state"], strict=False)
    if case.get("tables"):  # core's encoder starts from what the plugin's draws
        start(encoder, torch.load(case["tables"], weights_only=True))
    strategy = "auto"
    if world > 1:
        strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo")
    trainer = Trainer(
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    if case.get("load"):
        module.on_fit_start = lambda: encoder.load_shards(Path(case["load"]))
    trainer.fit(module, Batches(chosen, case["steps"], rank, world, case.get("batch", ROWS)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    if case.get("save"):
        encoder.save_shards(Path(case["save"]))
    state = {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    plan = getattr(encoder, "shards_plan", {})
    torch.save({"state": state, "peak_mb": peak, "plan": plan}, f"{sys.argv[2]}.{rank}")
    leave()


def start(encoder, tables) -> None:
    """Give core's fused table the rows of single tables."""
    first = 0
    with torch.no_grad():
        for name, size in encoder.schema.table_sizes.items():
            encoder.table.weight[first + 1 : first + size] = tables[f"{name}__0"][1:size]
            first += size - 1


if __name__ == "__main__":
    main()
