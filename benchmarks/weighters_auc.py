"""AUC of each weighter, at every step and with ``every: 4``, on the same rows.

Usage: ``python benchmarks/weighters_auc.py OUT.jsonl [ROWS [SEEDS]] [--into docs/weighters/README.md]``. Results in OUT
are not computed again.

Trains the MMoE of the benchmarks (8 experts [128, 64], towers [32]) on the simulator's ads for one epoch. Prints a
Markdown table of the expected AUC of click and conversion and the RMSE of dwell, on the test split, as means over
seeds.
"""

import argparse
import json
import tempfile
from pathlib import Path

import into
import numpy as np
from lightning.pytorch import Trainer, seed_everything

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry
from mtl_lightning.weighters.bases.gramian import GramianWeighter

FIGURES = ("click/expected_auc", "conversion/expected_auc", "dwell/rmse")
METRICS = {
    "click": ["expected_auc"],
    "conversion": ["expected_auc"],
    "dwell": ["rmse"],
}


def run(data: DataModule, weighter: str, every: int, seed: int) -> list[float]:
    """Train a model and return its figures."""
    seed_everything(seed, verbose=False)
    module = build_module(
        data.schema,
        architecture={"name": "mmoe", "experts": 8, "hidden": [128, 64]},
        heads={"conversion": "esmm"},
        metrics=METRICS,
        weighter={"name": weighter, **({"every": every} if every > 1 else {})},
        optimizer={"lr": 2e-3, "table_lr": 0.1, "schedule": "linear"},
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, limit_val_batches=0, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
        metrics = trainer.test(module, datamodule=data, verbose=False)[0]
    return [float(metrics[f"test/{name}"]) for name in FIGURES]


def cases() -> list[tuple[str, int]]:
    """All weighters with their intervals; weighters of gradients have two."""
    names = [("sum", 1)]
    for name in registry().names("weighter"):
        if name != "sum":
            names.append((name, 1))
        if issubclass(registry().resolve("weighter", name), GramianWeighter):
            names.append((name, 4))
    return names


def main() -> None:
    """Run the missing trainings and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("rows", type=int, nargs="?", default=100_000)
    parser.add_argument("seeds", type=int, nargs="?", default=2)
    into.add_option(parser, "docs/weighters/README.md")
    arguments = parser.parse_args()
    out, rows, seeds = arguments.out, arguments.rows, arguments.seeds
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    lines = [line for line in lines if line["rows"] == rows]
    results = {(line["weighter"], line["every"], line["seed"]): line["figures"] for line in lines}
    for seed in range(seeds):
        data = DataModule(Simulator(rows=rows, seed=seed), batch_size=1024, seed=seed)
        data.prepare()
        for weighter, every in cases():
            if (weighter, every, seed) not in results:
                figures = results[weighter, every, seed] = run(data, weighter, every, seed)
                line = {"weighter": weighter, "every": every, "seed": seed, "rows": rows, "figures": figures}
                with out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    names = [f"{figure.partition('/')[0]}{every}" for every in ("", ", `every: 4`") for figure in FIGURES]
    table = [f"| weighter | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for weighter, every in cases():
        if every == 1:
            cells = []
            for interval in (1, 4):
                keys = [(weighter, interval, seed) for seed in range(seeds)]
                values = [results[key] for key in keys if key in results]
                means = np.mean(values, axis=0) if values else []
                cells += [f"{value:.4f}" if value < 1 else f"{value:.2f}" for value in means] or ["–"] * len(FIGURES)
            table.append(f"| `{weighter}` | {' | '.join(cells)} |")
    into.show("\n".join(table), "weighters_auc", arguments.into)


if __name__ == "__main__":
    main()
