"""AUC and step time of gradient weighters at z, with ``scope: model``, and at the tensors that the tasks share last.

Usage: ``python benchmarks/seams.py [--world WORLD] [--out OUT.jsonl] [--rows ROWS] [--seeds 3] [--epochs EPOCHS]
[--into benchmarks/results/seams.md] [names …]``. Cases in OUT are not run again, so that the command continues one that
was interrupted. Without names, all weighters that use the tasks' gradients.

Trains an MMoE on rows of the simulator and prints a Markdown table of figures on the test split, as means over seeds:

- ``ads``: 8 experts [128, 64], towers [32]; expected AUC of click and conversion, RMSE of dwell.
- ``conflict``: 4 experts [32, 16], tables of one number; expected AUC of like, save and hide, the opposed task.

``python benchmarks/seams.py --times`` prints step times relative to ``sum`` for 3 and 8 tasks: medians over turns of
CPU time, on one thread, with the model and the batch of ``benchmarks/weighters.py``.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import into
import numpy as np
import torch
import weighters
from lightning.pytorch import Trainer, seed_everything

from mtl_lightning.build import build_module
from mtl_lightning.cli.allocation import keep_freed_memory
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.sources.simulator import Simulator
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.builtin import WEIGHTERS
from mtl_lightning.weighters.bases.jacobian import JacobianWeighter


@dataclass(frozen=True)
class World:
    """A simulated log and the model that learns it."""

    rows: int
    epochs: int
    metrics: dict[str, list[str]]
    source: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, Any]


WORLDS = {
    "ads": World(
        100_000, 1, {"click": ["expected_auc"], "conversion": ["expected_auc"], "dwell": ["rmse"]},
        {}, {"batch_size": 1024},
        {"architecture": {"name": "mmoe", "experts": 8, "hidden": [128, 64]}, "heads": {"conversion": "esmm"}},
    ),
    "conflict": World(
        40_000, 4, {task: ["expected_auc"] for task in ("like", "save", "hide")},
        {"scenario": "conflict", "users": 400, "items": 250},
        {
            "batch_size": 512,
            "features": dict.fromkeys(("user_id", "post_id"), "categorical"),
            "split": {"by": "random", "validation": 0.1, "test": 0.25},
        },
        {
            "encoder": {"name": "embedding", "width": 1},
            "architecture": {"name": "mmoe", "experts": 4, "hidden": [32, 16]},
        },
    ),
}  # fmt: skip
PLACES: dict[str, dict[str, Any]] = {
    "`seam`": {},
    "`seam`, `scope: model`": {"scope": "model"},
    "`shared`": {"gradients_at": "shared"},
    "`shared`, `scope: model`": {"gradients_at": "shared", "scope": "model"},
}
Case = tuple[str, str]
"""Name of a weighter, and the place of its gradients."""


def gradient_weighters() -> list[str]:
    """Names of all weighters that use the tasks' gradients."""
    return [name for name in sorted(WEIGHTERS) if weighters.of_gradients(name)]


def cases(names: Sequence[str]) -> list[Case]:
    """Weighters at each place that their options offer, once where the model is their default scope."""
    chosen = [("sum", "–")]
    for name in names:
        kind = registry().resolve("weighter", name)
        if issubclass(kind, JacobianWeighter):
            chosen += [(name, "`seam`"), (name, "`shared`")]
            continue
        scope = signature(kind.__init__).parameters.get("scope")
        model = scope is not None and scope.default == "model"
        chosen += [(name, place) for place in PLACES if not (model and "scope" in place)]
    return chosen


def run(world: World, data: DataModule, weighter: dict[str, Any], epochs: int, seed: int) -> list[float]:
    """Test figures of one training, in the order of the world's metrics."""
    seed_everything(seed, verbose=False)
    module = build_module(
        data.schema,
        **world.model,
        metrics=world.metrics,
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
    return [float(figures[f"test/{task}/{metric}"]) for task, metrics in world.metrics.items() for metric in metrics]


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


def table(world: World, figures: dict[tuple[str, str, int], list[float]]) -> str:
    """Means over seeds, and the number of seeds."""
    lines = [
        f"| weighter | gradients at | {' | '.join(world.metrics)} | seeds |",
        "|---" * (len(world.metrics) + 3) + "|",
    ]
    for name, place in dict.fromkeys((name, place) for name, place, _ in figures):
        values = [value for (*case, _), value in figures.items() if case == [name, place]]
        cells = [f"{x:.2f}" if x > 1 else f"{x:.4f}".lstrip("0") for x in np.mean(values, axis=0)]
        lines.append(f"| `{name}` | {place} | {' | '.join(cells)} | {len(values)} |")
    return "\n".join(lines)


def measure(name: str, chosen: Sequence[Case], arguments: argparse.Namespace) -> str:
    """Run the cases of a world that are missing, and return its table."""
    world, out = WORLDS[name], arguments.out
    rows, epochs = arguments.rows or world.rows, arguments.epochs or world.epochs
    size = {"world": name, "rows": rows, "epochs": epochs}
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {
        (line["weighter"], line["place"], line["seed"]): line["figures"]
        for line in lines
        if size.items() <= line.items()
    }
    figures = {}
    for seed in range(arguments.seeds):
        data = DataModule(Simulator(rows=rows, seed=seed, **world.source), seed=seed, **world.data)
        data.prepare()
        for weighter, place in chosen:
            key = weighter, place, seed
            if key not in known:
                options = {"name": weighter, **PLACES.get(place, {})}
                line = {"weighter": weighter, "place": place, "seed": seed, **size}
                line["figures"] = known[key] = run(world, data, options, epochs, seed)
                with out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            figures[key] = known[key]
    return f"`{name}`, {rows:,} rows, {epochs} epochs:\n\n{table(world, figures)}"


def main() -> None:
    """Run the cases that are missing and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--world", choices=WORLDS)
    parser.add_argument("--out", type=Path, default=Path("seams.jsonl"))
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    into.add_option(parser, "benchmarks/results/seams.md")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    names = arguments.names or gradient_weighters()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(1)
    if arguments.times:
        for tasks in (3, 8):
            times(names, tasks)
        return
    if arguments.into and (arguments.names or arguments.world):
        parser.error("--into requires all weighters and worlds")
    worlds = [arguments.world] if arguments.world else list(WORLDS)
    tables = [measure(name, cases(names), arguments) for name in worlds]
    into.show("\n\n".join(tables), "seams", arguments.into)


if __name__ == "__main__":
    main()
