"""Metrics of a run on its test rows, and on bootstrap samples of them that all runs share; Δm over tasks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_lightning.compare.statistics import Difference, Floats, Rows, draws, interval, metric_name, metric_of

Arrays = Mapping[str, NDArray[Any]]
"""A run's ``test.npz``."""
COUNT = 300
"""Bootstrap samples."""


@dataclass(frozen=True)
class Sampled:
    """Metrics of a run.

    Args:
        value: On the test rows as they are, per task; NaN where it isn't defined.
        samples: On bootstrap samples of them, per task, [count]; those of all runs and tasks are of the same users.
    """

    value: dict[str, float]
    samples: dict[str, Floats]


def task_rows(arrays: Arrays, task: str) -> tuple[Rows, Floats]:
    """A task's known test rows, and the run's predictions for them."""
    known = arrays[f"known/{task}"]
    weight = arrays.get(f"weight/{task}", np.ones(len(known)))[known].astype(np.float64)
    group = arrays["group"][known] if "group" in arrays else None
    label = arrays[f"label/{task}"][known].astype(np.float64)
    return Rows(label, weight, group), arrays[f"prediction/{task}"][known].astype(np.float64)


def sample(arrays: Arrays, kinds: Mapping[str, str], count: int = COUNT) -> Sampled:
    """Metrics of a run.

    Args:
        arrays: Its rows.
        kinds: Kind of each task.
        count: Bootstrap samples.

    Example:
        >>> label = np.tile([0.0, 1.0], 50)
        >>> arrays = {"known/t": label >= 0, "label/t": label[:, None], "prediction/t": label}
        >>> found = sample(arrays, {"t": "binary"}, count=5)
        >>> found.value, found.samples["t"].tolist()
        ({'t': 1.0}, [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    rows = {task: task_rows(arrays, task) for task in kinds}
    metrics = {task: metric_of(kind, rows[task][0].label, rows[task][1]) for task, kind in kinds.items()}
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
    """The models' advantage over others in a task, seed by seed, with its interval; positive is better.

    Args:
        task: The task.
        kind: Its kind.
        models: The models, one per seed.
        others: Those to compare with, by the same seeds.
        level: Confidence.
    """
    sign = 1.0 if metric_name(kind)[1] else -1.0
    pairs = list(zip(models, others, strict=True))
    per_seed = np.array([sign * (model.value[task] - other.value[task]) for model, other in pairs])
    samples = np.array([sign * (model.samples[task] - other.samples[task]) for model, other in pairs])
    return interval(per_seed, samples.T, level)


def delta_m(kinds: Mapping[str, str], models: Sequence[Sampled], others: Sequence[Sampled], level: float) -> Difference:
    """Δm: the mean over tasks of the relative change against single-task models, in percent; positive is better.

    A task's change is told relative to the mean of the single-task models over seeds, so that Δm is that of the means,
    and linear in each seed's metrics. Tasks whose metric isn't defined on the rows are left out.

    Source:
        Maninis et al., "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, equation 4 (with the sign turned).

    Args:
        kinds: Kind of each task.
        models: The models, one per seed.
        others: Single-task models by the same seeds.
        level: Confidence of the interval.

    Returns:
        Δm; NaN throughout if no task is defined.

    Example:
        >>> def one(**values):
        ...     return Sampled(values, {task: np.full(9, value) for task, value in values.items()})
        >>> kinds = {"click": "binary", "dwell": "regression"}
        >>> round(delta_m(kinds, [one(click=0.66, dwell=9.0)], [one(click=0.6, dwell=10.0)], 0.95).mean, 6)
        10.0
    """
    changes, samples = [], []
    for task, kind in kinds.items():
        sign = 100.0 if metric_name(kind)[1] else -100.0
        model, other = (np.array([each.value[task] for each in side]) for side in (models, others))
        base = abs(float(other.mean()))
        if not base or not math.isfinite(base) or not np.isfinite(model).all():
            continue
        drawn, against = (np.array([each.samples[task] for each in side]).T for side in (models, others))
        with np.errstate(divide="ignore", invalid="ignore"):  # a sample without an error, or without a positive
            samples.append(sign * (drawn - against) / abs(against.mean(axis=1, keepdims=True)))
        changes.append(sign * (model - other) / base)
    if not changes:
        return Difference(math.nan, math.nan, math.nan)
    return interval(np.mean(changes, axis=0), np.mean(samples, axis=0), level)
