"""Trains the cases it is given, in the calling process or in each of several gloo processes.

Usage: ``python run.py CASES.json OUT.pt`` with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set as torchrun does.
Each case is the options of build_module, with ``steps``, ``epochs``, ``dtype``, ``trainer``,
``histories`` and ``preferences``.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

sys.path.insert(0, str(Path(__file__).parent))
from problem import SCHEMA, WITH_HISTORY, WITH_PREFERENCE, GlobalBatches

from mtl_lightning.build import build_module
from mtl_lightning.fitting.children import leave


def train(case: dict, rank: int = 0, world: int = 1) -> dict[str, torch.Tensor]:
    """Final weights and buffers of one case."""
    case = dict(case)
    steps, dtype = case.pop("steps", 20), getattr(torch, case.pop("dtype", "float64"))
    options, epochs = case.pop("trainer", {}), case.pop("epochs", 1)
    torch.set_default_dtype(dtype)
    seed_everything(3, verbose=False)
    histories, preferences = case.pop("histories", False), case.pop("preferences", False)
    schema = WITH_HISTORY if histories else WITH_PREFERENCE if preferences else SCHEMA
    module = build_module(schema, **case).to(dtype)
    strategy = "auto"
    if world > 1:
        environment = TorchElasticEnvironment()
        strategy = DDPStrategy(
            cluster_environment=environment, process_group_backend="gloo", gradient_as_bucket_view=True
        )
    trainer = Trainer(
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        max_epochs=epochs,
        logger=False,
        barebones=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, GlobalBatches(steps, rank, world, dtype))
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cases = json.loads(Path(sys.argv[1]).read_text())
    states = {name: train(case, rank, world) for name, case in cases.items()}
    torch.save(states, f"{sys.argv[2]}.{rank}")
    leave()
