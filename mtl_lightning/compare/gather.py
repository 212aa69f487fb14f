"""Finished cells → the result of a comparison, plain containers that JSON, the page and the terminal show."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_lightning.compare.launch import finished
from mtl_lightning.compare.plan import BASELINE, Cell, Grid, confirming
from mtl_lightning.compare.relations import average
from mtl_lightning.compare.reliability import reliability_of
from mtl_lightning.compare.resources import parts_of
from mtl_lightning.compare.statistics import Difference, Rows, delta_m, difference, metric_name, metric_of
from mtl_lightning.compare.verdict import judge
from mtl_lightning.report.rows import FILE, read_rows
from mtl_lightning.rundir import RunDir

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
        relations: ``relations`` of its ``metrics.json``.
    """

    cell: Cell
    score: float
    resources: dict[str, Any]
    rows: dict[str, NDArray[Any]]
    relations: dict[str, Any] = field(default_factory=dict)


def read_run(grid: Grid, cell: Cell) -> Run:
    """Read what a finished cell left."""
    directory = RunDir.open(cell.path(grid.out))
    resources = directory.load_json("resources.json") or {}
    relations = directory.load_json("metrics.json").get("relations", {})
    return Run(cell, _score(grid, cell), resources, read_rows(directory.path / FILE), relations)


def _score(grid: Grid, cell: Cell) -> float:
    validations = RunDir(cell.path(grid.out)).load_json("metrics.json")["validations"]
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
    done: dict[str, list[Run]] = {}
    for cell in every:
        if finished(cell.path(grid.out)):
            done.setdefault(cell.configuration, []).append(read_run(grid, cell))
    constants = {name: score for name, score in _scores(grid, cells).items() if "-constant" in name}
    tuned = max(constants, key=lambda name: constants[name], default=None)
    shown = {name: runs for name, runs in done.items() if "-constant" not in name or name == tuned}
    baseline = done.get(BASELINE, [])
    level = 1 - (1 - LEVEL) / max(len(kinds), 1)  # all tasks at once: Bonferroni
    configurations = [
        _configuration(runs, baseline, kinds, level, name == tuned, grid.seeds) for name, runs in shown.items()
    ]
    return {
        "recipe": grid.recipe,
        "overrides": list(grid.overrides),
        "seeds": list(grid.seeds),
        "tasks": {task: {"kind": kind, "metric": metric_name(kind)[0]} for task, kind in kinds.items()},
        "confidence": LEVEL,
        "configurations": configurations,
        "tuned": tuned,
        "missing": [cell.name for cell in every if not finished(cell.path(grid.out))],
        "selected": selected,
        "verdict": _verdict(configurations, selected, kinds) if selected else None,
    }


def _verdict(configurations: Sequence[dict[str, Any]], selected: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    found = {each["name"]: each for each in configurations}
    differences = {}
    for task in kinds:
        values = [found[selected]["tasks"][task]["difference"][end] for end in ENDS]
        differences[task] = Difference(*(math.nan if value is None else value for value in values))
    parameters = {name: found[name]["parameters"] for name in (selected, BASELINE) if found[name]["parameters"]}
    return asdict(judge(selected, BASELINE, differences, parameters))


def _configuration(
    runs: Sequence[Run],
    baseline: Sequence[Run],
    kinds: Mapping[str, str],
    level: float,
    tuned: bool,
    seeds: Sequence[int],
) -> dict[str, Any]:
    others = {run.cell.seed: run for run in baseline}
    paired = [(run, others[run.cell.seed]) for run in runs if run.cell.seed in others]
    tasks: dict[str, Any] = {}
    for task, kind in kinds.items():
        values = [_value(run, task, kind) for run in runs]
        trust = reliability_of(kind, [rows_of(run, task) for run in runs])
        tasks[task] = {
            **_spread(values), "difference": _difference(paired, task, kind, level), "reliability": trust
        }  # fmt: skip
    up = {task: metric_name(kind)[1] for task, kind in kinds.items()}
    means = {task: statistics.fmean(_value(run, task, kinds[task]) for run, _ in paired) for task in kinds if paired}
    bases = {task: statistics.fmean(_value(other, task, kinds[task]) for _, other in paired) for task in means}
    return {
        "name": runs[0].cell.configuration,
        "settings": list(runs[0].cell.pairs),
        "tuned": tuned,
        "seeds": len(runs),
        "validation_score": _spread([run.score for run in runs if run.cell.seed in seeds]),
        "tasks": tasks,
        "delta_m": _plain(delta_m(means, bases, up)) if means else None,
        "parameters": sum(runs[0].resources.get("parameters", {}).values()) or None,
        "step_ms": _median([run.resources.get("step_ms") for run in runs]),
        "samples_per_second": _median([run.resources.get("samples_per_second") for run in runs]),
        "peak_memory_mb": _median([run.resources.get("peak_memory_mb") for run in runs]),
        "parts": parts_of([run.resources for run in runs]),
        "relations": average([run.relations for run in runs]),
    }


def rows_of(run: Run, task: str) -> tuple[Rows, NDArray[np.float64]]:
    """A task's known test rows, and the run's predictions for them."""
    known = run.rows[f"known/{task}"]
    weight = run.rows.get(f"weight/{task}", np.ones(len(known)))[known].astype(np.float64)
    group = run.rows["group"][known] if "group" in run.rows else None
    label = run.rows[f"label/{task}"][known].astype(np.float64)
    return Rows(label, weight, group), run.rows[f"prediction/{task}"][known].astype(np.float64)


def _value(run: Run, task: str, kind: str) -> float:
    rows, prediction = rows_of(run, task)
    return metric_of(kind, rows.label, prediction)(rows.weight)


def _difference(paired: Sequence[tuple[Run, Run]], task: str, kind: str, level: float) -> dict[str, Any]:
    if not paired:
        return dict.fromkeys(ENDS)
    if all(run is other for run, other in paired):  # the single-task models themselves
        same = 0.0 if all(math.isfinite(_value(run, task, kind)) for run, _ in paired) else None
        return dict.fromkeys(ENDS, same)
    rows, _ = rows_of(paired[0][0], task)
    models = [rows_of(run, task)[1] for run, _ in paired]
    others = [rows_of(other, task)[1] for _, other in paired]
    found = difference(kind, rows, models, others, level=level)
    return {name: _plain(value) for name, value in asdict(found).items()}


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return {"mean": _plain(statistics.fmean(values)), "sd": _plain(spread)}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
