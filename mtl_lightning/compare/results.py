"""Result of a comparison from finished cells, as plain containers for JSON, the page and the terminal."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_lightning.compare.bootstrap import Sampled, advantage, delta_m, sample, task_rows
from mtl_lightning.compare.ensemble import ensemble_gain
from mtl_lightning.compare.grouping import grouping_of
from mtl_lightning.compare.launch import finished
from mtl_lightning.compare.plan import BASELINE, Cell, Grid, confirming
from mtl_lightning.compare.preferences import follows_preferences, preference_fronts
from mtl_lightning.compare.ranks import compare_ranks
from mtl_lightning.compare.reliability import log_losses, reliability_of
from mtl_lightning.compare.resources import medians, parts_of
from mtl_lightning.compare.statistics import Difference, metric_name
from mtl_lightning.compare.verdict import judge
from mtl_lightning.errors import MtlError
from mtl_lightning.report.run.page import page_below
from mtl_lightning.report.training.relation_plots import average
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
        resources: Content of ``resources.json``.
        rows: Predictions and labels of the test rows.
        sampled: Metrics on these rows and on bootstrap samples.
        relations: ``relations`` of ``metrics.json``.
        page: Path of the page of the run, relative to the comparison; None if there is none.
        scores: Validation score by number of the validation; undefined ones are left out.
    """

    cell: Cell
    score: float
    resources: dict[str, Any]
    rows: dict[str, NDArray[Any]]
    sampled: Sampled
    relations: dict[str, Any] = field(default_factory=dict)
    page: str | None = None
    scores: dict[int, float] = field(default_factory=dict)


def read_run(grid: Grid, cell: Cell, kinds: Mapping[str, str]) -> Run:
    """Read the records of a finished cell, and compute its metrics."""
    directory = RunDirectory.open(cell.path(grid.out))
    resources = directory.load_json("resources.json") or {}
    relations = directory.load_json("metrics.json").get("relations", {})
    rows = read_rows(directory.path / FILE)
    page, scores = page_below(grid.out, directory.path), validation_scores(grid, cell)
    return Run(cell, best_score(scores), resources, rows, sample(rows, kinds), relations, page, scores)


def validation_scores(grid: Grid, cell: Cell) -> dict[int, float]:
    """Validation score of a finished cell by number of the validation, from 1; undefined ones are left out."""
    validations = RunDirectory(cell.path(grid.out)).load_json("metrics.json")["validations"]
    scores = {i: entry["metrics"].get("validation/score") for i, entry in enumerate(validations, 1)}
    return {i: float(score) for i, score in scores.items() if score is not None}


def best_score(scores: Mapping[int, float]) -> float:
    """Best of some validation scores; NaN without any.

    Example:
        >>> best_score({1: 0.6, 2: 0.7}), best_score({})
        (0.7, nan)
    """
    return max(scores.values(), default=math.nan)


def _scores(grid: Grid, cells: Sequence[Cell]) -> dict[str, float]:
    """Mean validation score of configurations whose cells have all finished; minus infinity if undefined."""
    by_name: dict[str, list[Cell]] = {}
    for cell in cells:
        by_name.setdefault(cell.configuration, []).append(cell)
    means = {
        name: statistics.fmean(best_score(validation_scores(grid, cell)) for cell in own)
        for name, own in by_name.items()
        if all(finished(cell.path(grid.out)) for cell in own)
    }
    return {name: -math.inf if math.isnan(mean) else mean for name, mean in means.items()}


def select(grid: Grid, cells: Sequence[Cell]) -> str | None:
    """Configuration with the best validation score, which is compared with single-task models.

    Args:
        grid: The grid.
        cells: The grid's cells.

    Returns:
        Name of the configuration; None until the single-task models and another configuration have finished all seeds.
    """
    scores = _scores(grid, cells)
    rivals = {name: score for name, score in scores.items() if name != BASELINE and score > -math.inf}
    return max(rivals, key=lambda name: rivals[name], default=None) if BASELINE in scores else None


def gather(grid: Grid, cells: Sequence[Cell], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Compare the finished cells.

    The configuration with the best mean validation score is selected among those with all seeds finished. The verdict
    is based on the test rows, by which nothing was selected, and includes the confirming runs. Of the constant weights
    only the setting with the best validation score is reported: the tuned sum.

    Args:
        grid: The grid.
        cells: The grid's cells.
        kinds: Kind of each task.
    """
    selected = select(grid, cells)
    all_cells = [*cells, *confirming(grid, cells, selected)]
    candidates = {cell.configuration for cell in cells if cell.tried}
    constants = {name: score for name, score in _scores(grid, cells).items() if name in candidates}
    tuned = max(constants, key=lambda name: constants[name], default=None)
    runs_by_name: dict[str, list[Run]] = {}
    for cell in all_cells:
        shown = not cell.tried or cell.configuration == tuned
        if shown and finished(cell.path(grid.out)):
            runs_by_name.setdefault(cell.configuration, []).append(read_run(grid, cell, kinds))
    by_name = {name: list(own) for name, own in runs_by_name.items()}  # with all constant weights, for fronts
    if any(follows_preferences(run.rows) for own in runs_by_name.values() for run in own):
        for cell in cells:
            if cell.tried and cell.configuration != tuned and finished(cell.path(grid.out)):
                by_name.setdefault(cell.configuration, []).append(read_run(grid, cell, kinds))
    runs = [run for own in by_name.values() for run in own]
    for run in runs:
        _check_same_rows(runs[0], run, kinds)
    level = 1 - (1 - LEVEL) / max(len(kinds), 1)  # simultaneous for all tasks (Bonferroni)
    baseline = runs_by_name.get(BASELINE, [])
    configurations = [
        _configuration(own, baseline, kinds, level, name == tuned, grid.seeds) for name, own in runs_by_name.items()
    ]
    return {
        "recipe": grid.recipe,
        "overrides": list(grid.overrides),
        "seeds": list(grid.seeds),
        "tasks": {task: _task(task, kind, runs) for task, kind in kinds.items()},
        "confidence": LEVEL,
        "configurations": configurations,
        "ranks": compare_ranks(
            {name: {run.cell.seed: run.sampled for run in own} for name, own in runs_by_name.items()}, kinds, LEVEL
        ),
        "preferences": preference_fronts(
            {name: [(run.cell.pairs, run.rows, run.sampled) for run in own] for name, own in by_name.items()},
            kinds,
            LEVEL,
        ),
        "tuned": tuned,
        "missing": [cell.name for cell in all_cells if not finished(cell.path(grid.out))],
        "selected": selected,
        "verdict": _verdict(configurations, selected, kinds) if selected else None,
        "ensemble": _ensemble(runs_by_name[selected], kinds, level) if selected else None,
        "grouping": grouping_of(grid, list(kinds)),
    }


def _ensemble(runs: Sequence[Run], kinds: Mapping[str, str], level: float) -> dict[str, Any] | None:
    """Gain of the average of a configuration's seeds, and its size; None for one seed."""
    if len(runs) < 2:
        return None
    gains = ensemble_gain([(run.rows, run.sampled) for run in runs], kinds, level)
    parameters = [sum(run.resources.get("parameters", {}).values()) for run in runs]
    return {
        "seeds": len(runs),
        "parameters": sum(parameters) if all(parameters) else None,
        "tasks": {task: gain.to_dict() for task, gain in gains.items()},
    }


def _check_same_rows(first: Run, run: Run, kinds: Mapping[str, str]) -> None:
    """Check that two runs were tested on the same rows, as paired differences require.

    Raises:
        MtlError: If rows or labels differ.
    """
    for task, kind in kinds.items():
        for name in ("known", "label", *task_kind(kind).compared_with):
            key = f"{name}/{task}"
            if not np.array_equal(first.rows[key], run.rows[key], equal_nan=True):
                reason = f"{first.cell.name} and {run.cell.name} were tested on different rows of {task}"
                raise MtlError(reason, "the data changed between these runs: choose another out=")


def _task(task: str, kind: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Kind, metric and numbers of rows of a task; ``positive`` for binary tasks only."""
    facts: dict[str, Any] = {"kind": kind, "metric": metric_name(kind)[0], "rows": None, "positive": None}
    if runs:
        rows, _ = task_rows(runs[0].rows, task, kind)
        facts["rows"] = len(rows.label)
        facts["positive"] = int(rows.label.sum()) if task_kind(kind).hard else None
    return facts


def _verdict(configurations: Sequence[dict[str, Any]], selected: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    by_name = {configuration["name"]: configuration for configuration in configurations}
    own = by_name[selected]
    differences = {task: _read(own["tasks"][task]["difference"]) for task in kinds}
    parameters = {name: by_name[name]["parameters"] for name in (selected, BASELINE) if by_name[name]["parameters"]}
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
            "difference": advantage(task, kind, models, against, level).to_dict() if paired else none,
            "reliability": reliability_of(kind, [task_rows(run.rows, task, kind) for run in runs]),
            "log_loss": log_losses(
                kind, [(*task_rows(run.rows, task, kind), run.rows.get(f"scaling/{task}")) for run in runs]
            ),
        }
    overall = delta_m(kinds, models, against, LEVEL).to_dict() if paired else none
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
        **medians([run.resources for run in runs], ("step_ms", "samples_per_second", "peak_memory_mb")),
        "parts": parts_of([run.resources for run in runs]),
        "relations": average([run.relations for run in runs]),
        "learning": _learning(runs),
        "pages": {str(run.cell.seed): run.page for run in runs if run.page},
    }


def _learning(runs: Sequence[Run]) -> list[list[float | None]]:
    """Number, mean score and standard deviation of each validation that all runs have."""
    common = set.intersection(*(set(run.scores) for run in runs))
    spreads = {number: _spread([run.scores[number] for run in runs]) for number in sorted(common)}
    return [[number, spread["mean"], spread["sd"]] for number, spread in spreads.items()]


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation; None if undefined or with too few values."""
    mean = float(np.mean(values)) if values else math.nan
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return {"mean": _plain(mean), "sd": _plain(deviation)}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
