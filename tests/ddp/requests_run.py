"""Trains on a log of requests, in the calling process or in each of several gloo processes.

Usage: ``python requests_run.py CACHE OUT`` with torchrun's variables.
"""

import os
import sys
import warnings
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.fitting.children import leave

REQUEST = ("user", "visit")
ENCODERS = (
    {"name": "transformer", "late_target": True, "next_action": 0.1, "width": 8},
    {"name": "din", "width": 4, "numeric": "plain"},
)


def log() -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    request = np.repeat(np.arange(60), rng.integers(1, 8, 60))
    rows = len(request)
    return {
        "user": (request % 13).tolist(),
        "visit": (request // 13).tolist(),
        "time": request.tolist(),
        "item": rng.integers(0, 12, rows).tolist(),
        "age": (request % 5 / 3).tolist(),
        "words": [" ".join(str((r + i) % 7) for i in range(r % 5)) for r in request],
        "click": rng.integers(0, 2, rows).tolist(),
        "buy": [None if i % 3 else i % 2 for i in range(rows)],
    }


def data(cache: str, request: tuple[str, ...], batch_size: int) -> DataModule:
    features = {
        "user": "categorical",
        "item": "categorical",
        "age": "numeric",
        "words": {"kind": "sequence", "length": 5},
        "watched": {"kind": "history", "by": "user", "time": "time", "of": "item", "where": "click == 1", "length": 8},
    }
    tasks = {"click": "binary", "buy": "binary"}
    split = {"by": "time", "column": "time", "validation": 0.0}
    options = {"batch_size": batch_size, "request": request, "cache_dir": cache, "seed": 1}
    return DataModule.from_frame(log(), features=features, tasks=tasks, split=split, **options)


def train(module_data: DataModule, encoder: dict[str, Any], rank: int = 0, world: int = 1) -> dict[str, torch.Tensor]:
    torch.set_default_dtype(torch.float64)
    seed_everything(3, verbose=False)
    module = build_module(module_data.schema, encoder=encoder, weighter="mgda").to(torch.float64)
    module.on_after_batch_transfer = lambda batch, _: batch.map(  # type: ignore[method-assign]
        lambda part: part.double() if part.is_floating_point() else part
    )
    strategy: Any = "auto"
    if world > 1:
        strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo")
    trainer = Trainer(
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, module_data)
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    states = [train(data(sys.argv[1], REQUEST, 24 // world), encoder, rank, world) for encoder in ENCODERS]
    torch.save(states, f"{sys.argv[2]}.{rank}")
    leave()
