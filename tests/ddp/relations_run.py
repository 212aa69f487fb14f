"""Trains a few steps with everything that looks at relations, and prints what it saw.

Usage: ``python relations_run.py OUT`` with torchrun's variables.
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
from problem import SCHEMA, GlobalBatches, global_batch

from mtl_lightning.analysis.affinity import AffinityCallback
from mtl_lightning.analysis.output_relations import OutputRelations
from mtl_lightning.build import build_module
from mtl_lightning.fitting.children import leave


class Uneven(GlobalBatches):
    """Rows that only the first process evaluates; the others' batches are empty."""

    def __iter__(self):
        for index in range(self.count):
            yield global_batch(index).map(lambda item: item if self.rank == 0 else item[:0])


def results(rank: int, world: int) -> dict:
    torch.set_default_dtype(torch.float64)
    seed_everything(3, verbose=False)
    module = build_module(SCHEMA, architecture="ple", optimizer={"lr": 0.01, "table_lr": 0.1}).double()
    strategy = "auto"
    if world > 1:
        strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment(), process_group_backend="gloo")
    look, steps = OutputRelations(), AffinityCallback(2)
    trainer = Trainer(
        accelerator="cpu", devices=world, strategy=strategy, max_epochs=1, logger=False, callbacks=[look, steps],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, GlobalBatches(6, rank, world), GlobalBatches(6, rank, world))
        trainer.test(module, Uneven(3, rank, world), verbose=False)
    return {"affinity": steps.summary(), **look.summary}


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    Path(f"{sys.argv[1]}.{rank}").write_text(json.dumps(results(rank, world)))
    leave()
