"""Cost of leaving features out: runs with and without them, compared on test rows."""

import hashlib
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_lightning.compare.bootstrap import advantage
from mtl_lightning.compare.launch import Report, launch, unfinished
from mtl_lightning.compare.plan import Cell, Grid
from mtl_lightning.compare.results import LEVEL, read_run
from mtl_lightning.compare.statistics import metric_name
from mtl_lightning.compare.verdict import LOSS, judge_task
from mtl_lightning.config import Config
from mtl_lightning.fitting.launch import Program
from mtl_lightning.importance.elimination import removals

FIXED = ("run.test=true", "run.evaluation=false", "run.slices=[]", "run.init_from=null")
"""Settings of all retrained runs: they start anew, and are judged by test rows."""


@dataclass(frozen=True)
class Retraining:
    """Runs of a recipe with all features and without some, per seed.

    Args:
        recipe: Path of the recipe, such as a run's ``config.yaml``.
        config: The checked recipe with the settings.
        settings: Settings of all runs.
        removed: Features that are left out.
        seeds: Number of seeds.
        jobs: Number of concurrent runs.
        out: Directory of the runs.
    """

    recipe: Path
    config: Config
    settings: tuple[str, ...]
    removed: tuple[str, ...]
    seeds: int
    jobs: int
    out: Path

    @property
    def grid(self) -> Grid:
        """The comparison that the runs belong to."""
        overrides = (*self.settings, *FIXED)
        return Grid(str(self.recipe), overrides, (), (), tuple(range(self.seeds)), 0, 0, self.jobs, self.out)

    def cells(self) -> tuple[list[Cell], list[Cell]]:
        """Runs with all features, and without some; runs of other settings or features have other names."""

        def named(name: str, pairs: tuple[str, ...]) -> list[Cell]:
            content = json.dumps([self.config.identity, sorted(pairs)]).encode()
            configuration = f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"
            return [Cell(configuration, seed, pairs) for seed in range(self.seeds)]

        return named("all", ()), named("without", removals(self.removed, self.config.data.per_request or ()))

    def run(self, report: Report, program: Program) -> list[Cell]:
        """Run what has not finished; returns the runs that failed."""
        every = [cell for pair in zip(*self.cells(), strict=True) for cell in pair]
        return launch(self.grid, unfinished(self.grid, every), report, program)

    def cost(self) -> dict[str, Any]:
        """Compare the finished runs on test rows, as ``compare`` does.

        Returns:
            Per task the ``metric``, its mean over seeds with ``all`` features and ``without`` some, the ``difference``
            with its interval (negative is a cost), and whether a ``loss`` is shown. The level of the intervals is
            corrected for the number of tasks. ``parameters`` has the numbers of both models.
        """
        kinds = {task.name: task.kind for task in self.config.tasks}
        sides = [[read_run(self.grid, cell, kinds) for cell in cells] for cells in self.cells()]
        level = 1 - (1 - LEVEL) / len(kinds)
        tasks = {}
        for task, kind in kinds.items():
            before, after = ([run.sampled for run in side] for side in sides)
            difference = advantage(task, kind, after, before, level)
            means = (_plain(statistics.fmean(sampled.value[task] for sampled in side)) for side in (before, after))
            tasks[task] = {
                "metric": metric_name(kind)[0],
                **dict(zip(("all", "without"), means, strict=True)),
                "difference": difference.to_dict(),
                "loss": judge_task(difference) == LOSS,
            }
        counts = [sum(side[0].resources.get("parameters", {}).values()) or None for side in sides]
        return {"seeds": self.seeds, "tasks": tasks, "parameters": dict(zip(("all", "without"), counts, strict=True))}


def cost_sentences(cost: dict[str, Any]) -> Sequence[str]:
    """Cost of leaving features out, in sentences.

    Args:
        cost: Result of :meth:`Retraining.cost`.

    Example:
        >>> ends = {"mean": -0.001, "low": -0.003, "high": 0.001}
        >>> task = {"metric": "auc", "all": 0.7, "without": 0.699, "difference": ends, "loss": False}
        >>> for sentence in cost_sentences({"seeds": 3, "tasks": {"click": task}, "parameters": {}}):
        ...     print(sentence)
        click: auc 0.7000 with all features, 0.6990 without: -0.0010 (-0.0030 to +0.0010).
        No task is shown to become worse; a cost within the intervals is possible.
    """
    sentences = []
    for task, facts in cost["tasks"].items():
        ends = facts["difference"]
        if ends["low"] is None:
            sentences.append(f"{task}: {facts['metric']} is undefined on the test rows, or has no interval.")
            continue
        change = f"{ends['mean']:+.4f} ({ends['low']:+.4f} to {ends['high']:+.4f})"
        sentences.append(
            f"{task}: {facts['metric']} {facts['all']:.4f} with all features, {facts['without']:.4f} without: {change}."
        )
    worse = [task for task, facts in cost["tasks"].items() if facts["loss"]]
    if worse:
        sentences.append(f"Keep them: {', '.join(worse)} would become worse.")
    elif cost["seeds"] < 2:
        sentences.append("One seed cannot distinguish a cost from chance: use more (seeds=3).")
    else:
        sentences.append("No task is shown to become worse; a cost within the intervals is possible.")
    return sentences


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
