"""Trains with checkpoints by time, while the clock of every process runs at another speed.

Usage: ``python clock_run.py OUT.json`` with torchrun's variables. Writes the steps at which this process saved.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

sys.path.insert(0, str(Path(__file__).parent))
from problem import SCHEMA, GlobalBatches

from mtl_lightning.build import build_module
from mtl_lightning.fitting import checkpointing
from mtl_lightning.fitting.checkpointing import Checkpoints
from mtl_lightning.fitting.children import leave
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO

STEPS, SECONDS = 60, 15.0


class Clock(Callback):
    """A clock that advances with every step: by one second on the first process, by more on others."""

    def __init__(self, rank: int) -> None:
        self.time, self.step = 0.0, 1.0 + 3.0 * rank
        self.saved: list[int] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.time += self.step

    def on_save_checkpoint(self, trainer: Trainer, *args: Any) -> None:
        self.saved.append(trainer.global_step)


if __name__ == "__main__":
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    seed_everything(3, verbose=False)
    clock = Clock(rank)
    checkpointing.monotonic = lambda: clock.time
    Trainer(
        accelerator="cpu",
        devices=world,
        strategy=DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo"),
        max_epochs=1,
        logger=False,
        callbacks=[Checkpoints(tempfile.mkdtemp(), every_n_steps=0, every_seconds=SECONDS), clock],
        plugins=[AtomicCheckpointIO(background=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(
        build_module(SCHEMA, encoder={"name": "embedding", "width": 4}),
        GlobalBatches(STEPS, rank, world, torch.float32),
    )
    Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps(clock.saved))
    leave()
