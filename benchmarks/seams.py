"""AUC and step time of gradient weighters at z, with ``scope: model``, and at the tensors that the tasks share last.

Usage: ``python benchmarks/seams.py [--out OUT.jsonl] [--rows 100000] [--seeds 3] [--epochs 1] [names …]``. Cases in
OUT are not run again.

Trains the MMoE of the benchmarks (8 experts [128, 64], towers [32]) on the simulator's ads. Prints a Markdown table of
the expected AUC of click and conversion and the RMSE of dwell, on the test split, as means over seeds.

``python benchmarks/seams.py --times`` prints step times relative to ``sum`` for 3 and 8 tasks: medians over turns of
CPU time, on one thread, with the model and the batch of ``benchmarks/weighters.py``.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import weighters
from lightning.pytorch import Trainer, seed_everything

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry

METRICS = {"click": ["expected_auc"], "conversion": ["expected_auc"], "dwell": ["rmse"]}
PLACES: dict[str, dict[str, Any]] = {
    "seam": {},
    "model": {"scope": "model"},
    "shared": {"gradients_at": "shared"},
    "shared, model": {"gradients_at": "shared", "scope": "model"},
}
NAMES = ("nash_mtl", "cagrad", "upgrad", "pcgrad", "db_mtl")


def run(data: DataModule, weighter: dict[str, Any], epochs: int, seed: int) -> list[float]:
    """Test figures of one training: expected AUC of click and conversion, RMSE of dwell."""
    seed_everything(seed, verbose=False)
    module = build_module(
        data.schema,
        architecture={"name": "mmoe", "experts": 8, "hidden": [128, 64]},
        heads={"conversion": "esmm"},
        metrics=METRICS,
        weighter=weighter,
        optimizer={"lr": 2e-3, "table_lr": 0.1, "schedule": "linear"},
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, limit_val_batches=0, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
        figures = trainer.test(module, datamodule=data, verbose=False)[0]
    return [float(figures[f"test/{task}/{metric}"]) for task, metrics in METRICS.items() for metric in metrics]


def times(names: Sequence[str], tasks: int, turns: int = 4, steps: int = 4) -> None:
    """Print each weighter's step time at both seams, relative to the time of ``sum``."""
    problem = weighters.Problem(weighters.BATCH, tasks, trunk=False)
    make = registry().resolve
    order = tuple(problem.schema.task_index)
    cases = {("sum", "seam"): make("weighter", "sum")(order)}
    cases |= {(name, at): make("weighter", name)(order, gradients_at=at) for name in names for at in ("seam", "shared")}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in cases}
    for _ in range(turns + 1):
        for (name, at), weighter in cases.items():
            problem.module.network.keep_shared = at == "shared"
            start = time.process_time()
            for _ in range(steps):
                problem.step(weighter)
            seconds[name, at].append(time.process_time() - start)
    for (name, at), values in seconds.items():  # the first turn warms up
        ratio = statistics.median(a / b for a, b in zip(values[1:], seconds["sum", "seam"][1:], strict=True))
        print(f"{tasks} tasks, {name}, {at}: ×{ratio:.2f}", flush=True)


def main() -> None:
    """Run the cases that are missing and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("seams.jsonl"))
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("names", nargs="*", default=NAMES)
    arguments = parser.parse_args()
    if arguments.times:
        torch.set_num_threads(1)
        for tasks in (3, 8):
            times(arguments.names, tasks)
        return
    lines = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    size = {"rows": arguments.rows, "epochs": arguments.epochs}
    figures = {
        (line["weighter"], line["place"], line["seed"]): line["figures"]
        for line in lines
        if size.items() <= line.items()
    }
    cases = [("sum", "seam"), *((name, place) for name in arguments.names for place in PLACES)]
    for seed in range(arguments.seeds):
        data = DataModule(Simulator(rows=arguments.rows, seed=seed), batch_size=1024, seed=seed)
        data.prepare()
        for name, place in cases:
            if (name, place, seed) not in figures:
                values = figures[name, place, seed] = run(data, {"name": name, **PLACES[place]}, arguments.epochs, seed)
                line = {"weighter": name, "place": place, "seed": seed, **size, "figures": values}
                with arguments.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    print("| weighter | gradients | click | conversion | dwell |\n|---|---|---|---|---|")
    for name, place in cases:
        means = np.mean([figures[name, place, seed] for seed in range(arguments.seeds)], axis=0)
        print(f"| `{name}` | {place} | {means[0]:.4f} | {means[1]:.4f} | {means[2]:.2f} |")


if __name__ == "__main__":
    main()
