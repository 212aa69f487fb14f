"""Trains a few steps with the vocabularies it is given and writes how many bytes of table rows were exchanged.

Usage: ``python exchange_run.py OUT.json SIZE…`` with torchrun's variables.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

sys.path.insert(0, str(Path(__file__).parent))
from problem import SCHEMA, GlobalBatches

from mtl_lightning.analysis.resources import ResourcesCallback
from mtl_lightning.build import build_module
from mtl_lightning.fitting.children import leave

STEPS = 4


def exchanged(size: int, rank: int, world: int) -> tuple[int, float]:
    """Bytes in all and per update, with ``size`` ids in every vocabulary; the batches' ids stay the same."""
    schema = replace(SCHEMA, fields=tuple(replace(f, size=size) if f.table else f for f in SCHEMA.fields))
    seed_everything(3, verbose=False)
    module = build_module(schema, encoder={"name": "embedding", "width": 4})
    strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo")
    resources = ResourcesCallback()
    Trainer(
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        max_epochs=1,
        logger=False,
        callbacks=[resources],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(module, GlobalBatches(STEPS, rank, world, torch.float32))
    return module.bytes_exchanged, resources.summary()["table_bytes_per_update"]


if __name__ == "__main__":
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps([exchanged(int(size), rank, world) for size in sys.argv[2:]]))
    leave()
