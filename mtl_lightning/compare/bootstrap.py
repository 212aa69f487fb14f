"""Metrics of a run on its test rows and on bootstrap samples that all runs share; Δm over tasks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_lightning.compare.statistics import Difference, Floats, Rows, draws, interval, metric_name, metric_of
from mtl_lightning.task_kinds import task_kind

Arrays = Mapping[str, NDArray[Any]]
"""Arrays of a run's ``test.npz``."""
COUNT = 300
"""Default number of bootstrap samples."""


@dataclass(frozen=True)
class Sampled:
    """Metrics of a run.

    Args:
        value: Value on the test rows, per task; NaN if undefined.
        samples: Values on bootstrap samples, per task, [count]. All runs and tasks share the same samples of users.
    """

    value: dict[str, float]
    samples: dict[str, Floats]


def task_rows(arrays: Arrays, task: str, kind: str) -> tuple[Rows, Floats]:
    """Test rows of a task with known labels, and the run's predictions for them."""
    known = arrays[f"known/{task}"]
    weight = arrays.get(f"weight/{task}", np.ones(len(known)))[known].astype(np.float64)
    group = arrays["group"][known] if "group" in arrays else None
    label = arrays[f"label/{task}"][known].astype(np.float64)
    details = tuple(arrays[f"{name}/{task}"][known] for name in task_kind(kind).compared_with)
    return Rows(label, weight, group, details), arrays[f"prediction/{task}"][known].astype(np.float64)


def sample(arrays: Arrays, kinds: Mapping[str, str], count: int = COUNT) -> Sampled:
    """Metrics of a run on its test rows and on bootstrap samples.

    Args:
        arrays: Arrays of the run.
        kinds: Kind of each task.
        count: Number of bootstrap samples.

    Example:
        >>> label = np.tile([0.0, 1.0], 50)
        >>> arrays = {"known/t": label >= 0, "label/t": label[:, None], "prediction/t": label}
        >>> sampled = sample(arrays, {"t": "binary"}, count=5)
        >>> sampled.value, sampled.samples["t"].tolist()
        ({'t': 1.0}, [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    rows = {task: task_rows(arrays, task, kind) for task, kind in kinds.items()}
    metrics = {
        task: metric_of(kind, rows[task][0].label, rows[task][1], *rows[task][0].details)
        for task, kind in kinds.items()
    }
    value = {task: metric(rows[task][0].weight) for task, metric in metrics.items()}
    size = len(next(iter(arrays[f"known/{task}"] for task in kinds)))
    samples = {task: np.empty(count) for task in kinds}
    for i, times in enumerate(draws(Rows(np.zeros(0), np.ones(size), arrays.get("group")), count)):
        for task, metric in metrics.items():
            samples[task][i] = metric(times[arrays[f"known/{task}"]] * rows[task][0].weight)
    return Sampled(value, samples)


def advantage(
    task: str, kind: str, models: Sequence[Sampled], others: Sequence[Sampled], level: float
) -> Difference:  # fmt: skip
    """Advantage of models over others in a task, paired by seed, with its interval; positive is better.

    Args:
        task: Name of the task.
        kind: Kind of the task.
        models: Models, one per seed.
        others: Models to compare with, of the same seeds.
        level: Confidence level.
    """
    sign = 1.0 if metric_name(kind)[1] else -1.0
    pairs = list(zip(models, others, strict=True))
    per_seed = np.array([sign * (model.value[task] - other.value[task]) for model, other in pairs])
    samples = np.array([sign * (model.samples[task] - other.samples[task]) for model, other in pairs])
    return interval(per_seed, samples.T, level)


def delta_m(kinds: Mapping[str, str], models: Sequence[Sampled], others: Sequence[Sampled], level: float) -> Difference:
    """Δm: mean over tasks of the relative change against single-task models, in percent; positive is better.

    The change of a task is relative to the mean of the single-task models over seeds. So Δm is linear in the metrics
    of each seed, and equals the Δm of the means. Tasks whose metric is undefined on the rows are left out, and so are
    effects of a treatment: their Qini coefficient may be 0, so that a change relative to it has no meaning.

    Source:
        Maninis et al., "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, equation 4 (with the opposite sign).

    Args:
        kinds: Kind of each task.
        models: Models, one per seed.
        others: Single-task models of the same seeds.
        level: Confidence level of the interval.

    Returns:
        Δm with its interval; all NaN if no task is defined.

    Example:
        >>> def sampled(**values):
        ...     return Sampled(values, {task: np.full(9, value) for task, value in values.items()})
        >>> kinds = {"click": "binary", "dwell": "regression"}
        >>> round(delta_m(kinds, [sampled(click=0.66, dwell=9.0)], [sampled(click=0.6, dwell=10.0)], 0.95).mean, 6)
        10.0
    """
    changes, samples = [], []
    for task, kind in kinds.items():
        sign = 100.0 if metric_name(kind)[1] else -100.0
        model, other = (np.array([run.value[task] for run in side]) for side in (models, others))
        base = abs(float(other.mean()))
        if task_kind(kind).difference or not base or not math.isfinite(base) or not np.isfinite(model).all():
            continue
        drawn, against = (np.array([run.samples[task] for run in side]).T for side in (models, others))
        with np.errstate(divide="ignore", invalid="ignore"):  # samples without errors or without positives
            samples.append(sign * (drawn - against) / abs(against.mean(axis=1, keepdims=True)))
        changes.append(sign * (model - other) / base)
    if not changes:
        return Difference(math.nan, math.nan, math.nan)
    return interval(np.mean(changes, axis=0), np.mean(samples, axis=0), level)
