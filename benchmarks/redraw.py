"""Metrics after each epoch, with tables that are kept and with tables that are drawn anew (``redraw_tables``).

Usage: ``python benchmarks/redraw.py [--rows 100000] [--users 50000] [--items 20000] [--epochs 4] [--seeds 3]``.

Trains the MMoE of the benchmarks (8 experts [128, 64], towers [32]) on the simulator's ads, with so many users and
items that most ids are rare. Prints a Markdown table of the AUC and the log loss of clicks on the validation split, as
means over seeds.
"""

import argparse
import tempfile

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from mtl_lightning.build import build_module
from mtl_lightning.cli.allocation import keep_freed_memory
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator

METRICS = ("auc", "log_loss")


class Epochs(Callback):
    """Validation metrics of clicks after each epoch."""

    def __init__(self) -> None:
        self.values: list[list[float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store what the module has logged."""
        self.values.append([float(trainer.callback_metrics[f"validation/click/{name}"]) for name in METRICS])


def run(data: DataModule, redraw: bool, epochs: int, seed: int) -> list[list[float]]:
    """Metrics per epoch, [epochs, metrics]."""
    seed_everything(seed, verbose=False)
    module = build_module(
        data.schema,
        architecture={"name": "mmoe", "experts": 8, "hidden": [128, 64]},
        heads={"conversion": "esmm"},
        metrics={"click": list(METRICS)},
        optimizer={"lr": 2e-3, "table_lr": 0.1, "redraw_tables": redraw},
        seed=seed,
    )
    seen = Epochs()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, callbacks=[seen],
            use_distributed_sampler=False,
        ).fit(module, datamodule=data)  # fmt: skip
    return seen.values


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 100_000), ("users", 50_000), ("items", 20_000), ("epochs", 4), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(1)
    values: dict[bool, list[list[list[float]]]] = {False: [], True: []}
    for seed in range(arguments.seeds):
        source = Simulator(rows=arguments.rows, users=arguments.users, items=arguments.items, seed=seed)
        data = DataModule(source, batch_size=1024, seed=seed)
        data.prepare()
        for redraw in values:
            values[redraw].append(run(data, redraw, arguments.epochs, seed))
            print(f"seed {seed}, redraw_tables {redraw}: {np.round(values[redraw][-1], 4).tolist()}", flush=True)
    epochs = range(1, arguments.epochs + 1)
    print(f"| `redraw_tables` | metric | {' | '.join(f'epoch {epoch}' for epoch in epochs)} |")
    print("|---" * (arguments.epochs + 2) + "|")
    for redraw, runs in values.items():
        for name, means in zip(METRICS, np.mean(runs, axis=0).T, strict=True):
            print(f"| {str(redraw).lower()} | {name} | {' | '.join(f'{value:.4f}' for value in means)} |")


if __name__ == "__main__":
    main()
