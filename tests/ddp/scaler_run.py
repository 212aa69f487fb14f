"""Trains with a scaled loss; on the last process one row of a table has a gradient that isn't finite, in one step.

Usage: ``python scaler_run.py OUT.json`` with torchrun's variables. Writes the scale after every step and whether the
weights are finite. fp16 itself is for GPUs: here the scaler does its work on float32.
"""

import json
import os
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy

sys.path.insert(0, str(Path(__file__).parent))
from problem import SCHEMA, GlobalBatches

from mtl_lightning.build import build_module
from mtl_lightning.fitting.children import leave

STEPS, BAD = 6, 3


class Scaled(MixedPrecision):
    """Lightning's scaling of the loss, without its half precision."""

    def __init__(self) -> None:
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))

    def autocast_context_manager(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


class Overflow(Callback):
    """Makes a gradient infinite before processes exchange rows, and keeps the scales."""

    def __init__(self, here: bool) -> None:
        self.here = here
        self.scales: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, module: torch.nn.Module, batch: object, index: int) -> None:
        if index == BAD and self.here:
            table = module.network.encoder.table_parameters()[0]

            def overflow(gradient: torch.Tensor) -> torch.Tensor:
                hook.remove()
                values = gradient._values().clone()
                values[0] = float("inf")
                return torch.sparse_coo_tensor(gradient._indices(), values, gradient.shape)

            hook = table.register_hook(overflow)

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        self.scales.append(trainer.precision_plugin.scaler.get_scale())


if __name__ == "__main__":
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    seed_everything(3, verbose=False)
    module = build_module(SCHEMA, encoder={"name": "embedding", "width": 4})
    overflow = Overflow(rank == world - 1)
    Trainer(
        accelerator="cpu",
        devices=world,
        strategy=DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo"),
        max_epochs=1,
        logger=False,
        callbacks=[overflow],
        plugins=[Scaled()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(module, GlobalBatches(STEPS, rank, world, torch.float32))
    finite = all(bool(torch.isfinite(value).all()) for value in module.state_dict().values())
    weights = float(sum(parameter.double().sum() for parameter in module.parameters()))
    Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps([overflow.scales, module.skipped, finite, weights]))
    leave()
