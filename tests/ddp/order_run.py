"""Trains a linear model on rows in the order of a function, in memory and in pools, and keeps the rows of each step.

Usage: ``python order_run.py OUT`` with torchrun's variables; ``OUT.RANK`` gets weights and rows.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from mtl_lightning.batch import Batch
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.fitting.children import leave

POOLS, RATE = (None, 512), 0.05


class Linear(LightningModule):
    """A regression on two columns, in float64."""

    def __init__(self, world: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.world, self.rows = world, []

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        self.rows.append(batch.ids[:, 0].tolist())
        count = torch.tensor(float(len(batch)))
        if self.world > 1:  # the mean over the global batch, whose parts differ by a row
            torch.distributed.all_reduce(count)
        errors = batch.dense.double() @ self.weight - batch.labels[:, 0].double()
        return errors.square().sum() * self.world / count

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=RATE)


def build_data(size: int, pool: int | None) -> DataModule:
    """3,001 rows, so that the parts of processes differ in size."""
    draw = np.random.default_rng(0)
    columns = {"row": np.arange(3001).astype(str), "a": draw.normal(size=3001), "b": draw.normal(size=3001)}
    return DataModule.from_frame(
        {**columns, "y": columns["a"] - 2 * columns["b"] + draw.normal(size=3001)},
        features={"row": "categorical", "a": "numeric", "b": "numeric"},
        tasks={"y": "regression"},
        batch_size=size,
        pool=pool,
        order="function",
        cache_dir=tempfile.mkdtemp(),
    )


if __name__ == "__main__":
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    results = []
    for pool in POOLS:
        model = Linear(world)
        Trainer(
            accelerator="cpu",
            devices=world,
            strategy=DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo"),
            max_epochs=2,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        ).fit(model, build_data(64, pool))
        results.append([model.weight.tolist(), model.rows])
    Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps(results))
    leave()
