"""Finished cells → the result of a comparison, plain containers that JSON, the page and the terminal show."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_lightning.compare.bootstrap import Sampled, advantage, delta_m, sample, task_rows
from mtl_lightning.compare.launch import finished
from mtl_lightning.compare.plan import BASELINE, Cell, Grid, confirming
from mtl_lightning.compare.relations import average
from mtl_lightning.compare.reliability import reliability_of
from mtl_lightning.compare.resources import parts_of
from mtl_lightning.compare.statistics import Difference, metric_name
from mtl_lightning.compare.verdict import judge
from mtl_lightning.errors import MtlError
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.records.test_rows import FILE, read_rows
from mtl_lightning.task_kinds import task_kind

LEVEL = 0.95
ENDS = ("mean", "low", "high")


@dataclass(frozen=True)
class Run:
    """A finished cell.

    Args:
        cell: The cell.
        score: Best validation score; NaN if it was never defined.
        resources: Its ``resources.json``.
        rows: Its predictions and labels.
        sampled: Its metrics on them, and on bootstrap samples.
        relations: ``relations`` of its ``metrics.json``.
    """

    cell: Cell
    score: float
    resources: dict[str, Any]
    rows: dict[str, NDArray[Any]]
    sampled: Sampled
    relations: dict[str, Any] = field(default_factory=dict)


def read_run(grid: Grid, cell: Cell, kinds: Mapping[str, str]) -> Run:
    """Read what a finished cell left, and measure it."""
    directory = RunDirectory.open(cell.path(grid.out))
    resources = directory.load_json("resources.json") or {}
    relations = directory.load_json("metrics.json").get("relations", {})
    rows = read_rows(directory.path / FILE)
    return Run(cell, _score(grid, cell), resources, rows, sample(rows, kinds), relations)


def _score(grid: Grid, cell: Cell) -> float:
    validations = RunDirectory(cell.path(grid.out)).load_json("metrics.json")["validations"]
    scores = [entry["metrics"].get("validation/score") for entry in validations]
    return max((float(score) for score in scores if score is not None), default=math.nan)


def _scores(grid: Grid, cells: Sequence[Cell]) -> dict[str, float]:
    """Mean validation score of the configurations whose cells have all finished, minus infinity if it isn't defined."""
    names = {cell.configuration: [each for each in cells if each.configuration == cell.configuration] for cell in cells}
    means = {
        name: statistics.fmean(_score(grid, cell) for cell in own)
        for name, own in names.items()
        if all(finished(cell.path(grid.out)) for cell in own)
    }
    return {name: -math.inf if math.isnan(mean) else mean for name, mean in means.items()}


def select(grid: Grid, cells: Sequence[Cell]) -> str | None:
    """The configuration that validation chooses to be compared with single-task models.

    Args:
        grid: What is compared.
        cells: The grid's cells.

    Returns:
        Its name; None until the single-task models and another configuration have finished all seeds of the grid.
    """
    scores = _scores(grid, cells)
    rivals = {name: score for name, score in scores.items() if name != BASELINE and score > -math.inf}
    return max(rivals, key=lambda name: rivals[name], default=None) if BASELINE in scores else None


def gather(grid: Grid, cells: Sequence[Cell], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Compare what has finished.

    A configuration is selected by its mean validation score among those with all seeds done; the verdict then rests
    on the test rows, which nothing was chosen by, and on its confirming runs too. Of the constant settings only the
    one that is best on validation is kept: that is the tuned sum.

    Args:
        grid: What is compared.
        cells: The grid's cells.
        kinds: Kind of each task.
    """
    selected = select(grid, cells)
    every = [*cells, *confirming(grid, cells, selected)]
    tried = {cell.configuration for cell in cells if cell.tried}
    constants = {name: score for name, score in _scores(grid, cells).items() if name in tried}
    tuned = max(constants, key=lambda name: constants[name], default=None)
    done: dict[str, list[Run]] = {}
    for cell in every:
        shown = not cell.tried or cell.configuration == tuned
        if shown and finished(cell.path(grid.out)):
            done.setdefault(cell.configuration, []).append(read_run(grid, cell, kinds))
    runs = [run for own in done.values() for run in own]
    for run in runs:
        _same_rows(runs[0], run, kinds)
    level = 1 - (1 - LEVEL) / max(len(kinds), 1)  # all tasks at once: Bonferroni
    baseline = done.get(BASELINE, [])
    configurations = [
        _configuration(own, baseline, kinds, level, name == tuned, grid.seeds) for name, own in done.items()
    ]
    return {
        "recipe": grid.recipe,
        "overrides": list(grid.overrides),
        "seeds": list(grid.seeds),
        "tasks": {task: _task(task, kind, runs) for task, kind in kinds.items()},
        "confidence": LEVEL,
        "configurations": configurations,
        "tuned": tuned,
        "missing": [cell.name for cell in every if not finished(cell.path(grid.out))],
        "selected": selected,
        "verdict": _verdict(configurations, selected, kinds) if selected else None,
    }


def _same_rows(first: Run, run: Run, kinds: Mapping[str, str]) -> None:
    """Differences row by row mean nothing where the rows aren't the same.

    Raises:
        MtlError: If the runs were tested on other rows or labels.
    """
    for task in kinds:
        for key in (f"known/{task}", f"label/{task}"):
            if not np.array_equal(first.rows[key], run.rows[key], equal_nan=True):
                reason = f"{first.cell.name} and {run.cell.name} were tested on different rows of {task}"
                raise MtlError(reason, "the data changed between them: choose another out=")


def _task(task: str, kind: str, runs: Sequence[Run]) -> dict[str, Any]:
    """What the verdict about a task rests on; ``positive`` of a binary one only."""
    facts: dict[str, Any] = {"kind": kind, "metric": metric_name(kind)[0], "rows": None, "positive": None}
    if runs:
        rows, _ = task_rows(runs[0].rows, task)
        facts["rows"] = len(rows.label)
        facts["positive"] = int(rows.label.sum()) if task_kind(kind).event_probability else None
    return facts


def _verdict(configurations: Sequence[dict[str, Any]], selected: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    found = {each["name"]: each for each in configurations}
    own = found[selected]
    differences = {task: _read(own["tasks"][task]["difference"]) for task in kinds}
    parameters = {name: found[name]["parameters"] for name in (selected, BASELINE) if found[name]["parameters"]}
    metrics = {task: metric_name(kind)[0] for task, kind in kinds.items()}
    return asdict(judge(selected, BASELINE, differences, parameters, metrics=metrics, seeds=own["paired_seeds"]))


def _read(ends: Mapping[str, float | None]) -> Difference:
    values = (ends[end] for end in ENDS)
    return Difference(*(math.nan if value is None else value for value in values))


def _configuration(
    runs: Sequence[Run],
    baseline: Sequence[Run],
    kinds: Mapping[str, str],
    level: float,
    tuned: bool,
    seeds: Sequence[int],
) -> dict[str, Any]:
    others = {run.cell.seed: run.sampled for run in baseline}
    paired = [(run.sampled, others[run.cell.seed]) for run in runs if run.cell.seed in others]
    models, against = [model for model, _ in paired], [other for _, other in paired]
    none = dict.fromkeys(ENDS)
    tasks: dict[str, Any] = {}
    for task, kind in kinds.items():
        tasks[task] = {
            **_spread([run.sampled.value[task] for run in runs]),
            "difference": _plain_ends(advantage(task, kind, models, against, level)) if paired else none,
            "reliability": reliability_of(kind, [task_rows(run.rows, task) for run in runs]),
        }
    overall = _plain_ends(delta_m(kinds, models, against, LEVEL)) if paired else none
    return {
        "name": runs[0].cell.configuration,
        "settings": list(runs[0].cell.pairs),
        "tuned": tuned,
        "seeds": len(runs),
        "paired_seeds": len(paired),
        "validation_score": _spread([run.score for run in runs if run.cell.seed in seeds]),
        "tasks": tasks,
        "delta_m": overall["mean"],
        "delta_m_interval": [overall["low"], overall["high"]],
        "parameters": next(filter(None, (sum(run.resources.get("parameters", {}).values()) for run in runs)), None),
        "step_ms": _median([run.resources.get("step_ms") for run in runs]),
        "samples_per_second": _median([run.resources.get("samples_per_second") for run in runs]),
        "peak_memory_mb": _median([run.resources.get("peak_memory_mb") for run in runs]),
        "parts": parts_of([run.resources for run in runs]),
        "relations": average([run.relations for run in runs]),
    }


def _plain_ends(found: Difference) -> dict[str, float | None]:
    return {name: _plain(value) for name, value in asdict(found).items()}


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation, None where a value isn't defined or there are too few."""
    mean = float(np.mean(values)) if values else math.nan
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return {"mean": _plain(mean), "sd": _plain(deviation)}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
