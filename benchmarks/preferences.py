"""The front of one ``cosmos`` run next to separately trained constant weights, in the simulator's world ``conflict``.

    python benchmarks/preferences.py OUT.jsonl [--seeds 2] [--penalties 0 1 3]

Each preference gives ``hide``, the task opposed to the others, a share; ``like`` and ``save`` have equal parts of the
rest. A run of ``cosmos`` is evaluated at every preference; ``constant`` is trained for each, with three times the
preference as weights. It has the settings of ``benchmarks/seams.py``. Prints a Markdown table of expected AUC on the
test split, as means over seeds, each of which is another world. Results in OUT are not computed again.
"""

import argparse
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from seams import WORLDS

from mtl_lightning.build import build_module
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.metrics.suite import MetricSuite

WORLD = WORLDS["conflict"]
TASKS = tuple(WORLD.metrics)
SHARES = (0.02, 0.2, 1 / 3, 0.5, 0.8, 0.98)
"""Preferences of ``hide``."""


def preference(share: float) -> list[float]:
    """Preferences of like, save and hide."""
    return [(1 - share) / 2, (1 - share) / 2, share]


def train(data: DataModule, weighter: dict[str, Any], seed: int) -> Any:
    """Train one model and return its module."""
    seed_everything(seed, verbose=False)
    options = {"lr": 2e-3, "table_lr": 0.1, "schedule": "linear"}
    module = build_module(
        data.schema, **WORLD.model, metrics=WORLD.metrics, weighter=weighter, optimizer=options, seed=seed
    )
    Trainer(
        max_epochs=WORLD.epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False,
    ).fit(module, datamodule=data)  # fmt: skip
    return module.eval()


@torch.no_grad()
def figures(module: Any, data: DataModule, share: float) -> list[float]:
    """Expected AUC of each task on the test split, at a preference."""
    suite = MetricSuite(module.schema, module.suites["test"].by_task())
    order = torch.tensor(preference(share))[[TASKS.index(task) for task in module.schema.task_index]]
    for plain in data.test_dataloader():
        batch = plain.preferring(order)
        suite.update(*module.network.measured(module.network.outputs(batch)[0], batch))
    values = suite.compute()
    suite.reset()
    return [float(values[f"{task}/expected_auc"]) for task in TASKS]


def main() -> None:
    """Run the missing trainings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--penalties", type=float, nargs="*", default=[0.0, 1.0, 3.0])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    out, names = arguments.out, ["constant", *(f"cosmos, penalty {penalty:g}" for penalty in arguments.penalties)]
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(line["model"], line["share"], line["seed"]): line["figures"] for line in lines}
    features = {**WORLD.data["features"], "preference": {"kind": "preference", "tasks": list(TASKS)}}
    for seed in range(arguments.seeds):
        data = DataModule(
            Simulator(rows=WORLD.rows, seed=seed, **WORLD.source), seed=seed, **{**WORLD.data, "features": features}
        )
        data.prepare()
        for name, penalty in zip(names, [None, *arguments.penalties], strict=True):
            model = None
            for share in SHARES:
                if (name, share, seed) in known:
                    continue
                if penalty is None:
                    weights = {task: 3 * part for task, part in zip(TASKS, preference(share), strict=True)}
                    model = train(data, {"name": "constant", "weights": weights}, seed)
                elif model is None:
                    model = train(data, {"name": "cosmos", "penalty": penalty}, seed)
                known[name, share, seed] = figures(model, data, share)
                line = {"model": name, "share": share, "seed": seed, "figures": known[name, share, seed]}
                with out.open("a") as file:
                    print(json.dumps(line), file=file)
    print(f"| preference of hide | {' | '.join(f'`{name}`' for name in names)} |\n|---|{'---|' * len(names)}")
    for share in SHARES:
        means = [np.mean([known[name, share, seed] for seed in range(arguments.seeds)], 0) for name in names]
        print(f"| {share:.2f} | {' | '.join(', '.join(f'{x:.3f}'[1:] for x in mean) for mean in means)} |")


if __name__ == "__main__":
    main()
