"""Statistics of a comparison: metrics as functions of row weights, the paired bootstrap, intervals."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_lightning.analysis.intervals import student_quantile
from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.metrics.uplift.curves import QiniCoefficient
from mtl_lightning.task_kinds import task_kind

Floats = NDArray[np.float64]
Metric = Callable[[Floats], float]
"""Weights of the rows → value; NaN if undefined."""


@dataclass(frozen=True)
class Rows:
    """Test rows of a task with known labels.

    Args:
        label: [n], or [n, K] for several labels per row.
        weight: Sample weights, [n].
        group: Group of each row, [n]; rows of a group (a user) are drawn together. None draws each row by itself.
        details: Further columns that the metric reads (:attr:`TaskKind.compared_with`), each [n].
    """

    label: Floats
    weight: Floats
    group: NDArray[np.int64] | None = None
    details: tuple[Floats, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Advantage of a model over another in a task; positive is better.

    Args:
        mean: Mean over seeds.
        low: Lower end of the confidence interval.
        high: Upper end of the confidence interval.
    """

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Plain containers, for JSON; None where undefined.

        Example:
            >>> Difference(0.1, math.nan, math.nan).to_dict()
            {'mean': 0.1, 'low': None, 'high': None}
        """
        return {name: value if math.isfinite(value) else None for name, value in vars(self).items()}


def metric_name(kind: str) -> tuple[str, bool]:
    """Metric by which a kind of task is compared, and whether higher values are better.

    Example:
        >>> metric_name("binary"), metric_name("count")
        (('auc', True), ('rmse', False))
    """
    name = task_kind(kind).compared_by
    return name, METRICS[name].higher_is_better


def metric_of(kind: str, label: Floats, prediction: Floats, *details: Floats) -> Metric:
    """Metric of a task as a function of row weights; everything else is computed once.

    Args:
        kind: Kind of the task.
        label: [n] or [n, K].
        prediction: [n] or [n, K]; the metric is undefined without rows, or if a prediction is not finite.
        details: Further columns that the metric of this kind reads, each [n].

    Example:
        >>> metric = metric_of("binary", np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.1, 0.9]))
        >>> metric(np.ones(3)), metric(np.array([1.0, 0.0, 1.0]))
        (0.5, 1.0)
    """
    if not len(label) or not np.isfinite(prediction).all():
        return lambda _: math.nan
    return METRICS[task_kind(kind).compared_by].prepare(label, prediction, *details)


def _mean_auc(label: Floats, prediction: Floats) -> Metric:
    labels, scores = label.reshape(len(label), -1), prediction.reshape(len(label), -1)
    columns = [_auc(labels[:, k], scores[:, k]) for k in range(labels.shape[1])]
    return lambda weight: _mean_of_defined([column(weight) for column in columns])


def _accuracy(label: Floats, prediction: Floats) -> Metric:
    correct = (prediction.argmax(1) == label.reshape(-1)).astype(np.float64)
    return lambda weight: _average(correct, weight)


def _rmse(label: Floats, prediction: Floats) -> Metric:
    square = (prediction.reshape(-1) - label.reshape(-1)) ** 2
    return lambda weight: math.sqrt(_average(square, weight))


def _qini(label: Floats, prediction: Floats, treatment: Floats) -> Metric:
    known = ~np.isnan(treatment)
    columns = (prediction.reshape(-1), label.reshape(-1), treatment)
    coefficient = QiniCoefficient(*(torch.from_numpy(column[known].astype(np.float64)) for column in columns))
    return lambda weight: float(coefficient(torch.from_numpy(weight[known].astype(np.float64))))


class ComparisonMetric(NamedTuple):
    """A metric by which models are compared: how it is prepared for labels and predictions, and its direction."""

    prepare: Callable[..., Metric]
    higher_is_better: bool


METRICS = {
    "auc": ComparisonMetric(_mean_auc, True),
    "accuracy": ComparisonMetric(_accuracy, True),
    "qini": ComparisonMetric(_qini, True),
    "rmse": ComparisonMetric(_rmse, False),
}
"""Metrics by which models are compared; :class:`~mtl_lightning.task_kinds.TaskKind` names one for each kind of task."""


def _average(values: Floats, weight: Floats) -> float:
    total = float(weight.sum())
    return float(values @ weight) / total if total > 0 else math.nan


def _mean_of_defined(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _auc(label: Floats, score: Floats) -> Metric:
    order = np.argsort(score, kind="stable")
    label, score = label[order], score[order]
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]]) if len(score) else np.zeros(0, np.int64)

    def value(weight: Floats) -> float:
        weight = weight[order]
        positive = np.add.reduceat(weight * label, starts) if len(starts) else np.zeros(0)
        negative = np.add.reduceat(weight * (1 - label), starts) if len(starts) else np.zeros(0)
        pairs = float(positive.sum() * negative.sum())
        below = np.cumsum(negative) - negative / 2  # ties count one half
        return float(positive @ below) / pairs if pairs > 0 else math.nan

    return value


def draws(rows: Rows, count: int, seed: int = 0) -> Iterator[Floats]:
    """Yield bootstrap samples as row weights. Whole groups are drawn, because the rows of a user are correlated.

    Poisson counts approximate drawing with replacement. They are the same for every model, so differences are paired.
    """
    random = np.random.default_rng(seed)
    members, member = len(rows.weight), None
    if rows.group is not None:
        groups, member = np.unique(rows.group, return_inverse=True)
        if (ungrouped := rows.group == WITHOUT_GROUP).any():  # drawn one by one
            member[ungrouped] = len(groups) + np.arange(ungrouped.sum())
            _, member = np.unique(member, return_inverse=True)
        members = int(member.max()) + 1 if len(member) else 0
    for _ in range(count):
        drawn = random.poisson(1.0, members)
        yield (drawn if member is None else drawn[member]) * rows.weight


def difference(
    kind: str, rows: Rows, models: Sequence[Floats], others: Sequence[Floats], *, level: float = 0.95, count: int = 300
) -> Difference:
    """Advantage of models over others, paired by seed, with a confidence interval as in :func:`interval`.

    Args:
        kind: Kind of the task.
        rows: Rows of the task.
        models: Predictions, one array per seed.
        others: Predictions of the models to compare with, of the same seeds.
        level: Confidence level.
        count: Number of bootstrap samples.

    Returns:
        The difference; all NaN if the metric is undefined on the rows.

    Example:
        >>> label = np.tile([0.0, 1.0], 200)
        >>> rows = Rows(label, np.ones(400))
        >>> difference("binary", rows, [label], [1 - label]).mean
        1.0
    """
    sign = 1.0 if metric_name(kind)[1] else -1.0
    pairs = [
        (metric_of(kind, rows.label, model, *rows.details), metric_of(kind, rows.label, other, *rows.details))
        for model, other in zip(models, others, strict=True)
    ]
    per_seed = np.array([sign * (model(rows.weight) - other(rows.weight)) for model, other in pairs])
    samples = np.array(
        [[sign * (model(weight) - other(weight)) for model, other in pairs] for weight in draws(rows, count)]
    )
    return interval(per_seed, samples, level)


def interval(per_seed: Floats, samples: Floats, level: float) -> Difference:
    """Mean and confidence interval of a value when both test rows and seeds are random samples.

    The value of a seed is the sum of a true mean and three effects: of the rows on all seeds (variance R), of the rows
    on the models of this seed (I), and of the seed itself (S). The mean of n seeds has variance R + (I + S) / n.

    - The spread of the seeds estimates I + S.
    - The bootstrap gives R + I / n as the variance of its mean, and I as the variance between seeds within a draw.
      Adding the spread to the bootstrap variance would count I twice.
    - Each part has its own quantile: the normal quantile for the rows, Student's with n - 1 degrees of freedom for the
      spread of the seeds. Such an interval never covers less often than its level.
    - The interval is never narrower than the interval of the bootstrap alone.

    Satterthwaite's degrees of freedom for the sum are not used, because they are estimated from the same spread: if
    three seeds agree by chance, both the spread and the quantile are too small. The spread is not pooled over tasks or
    configurations either. Single-task models vary up to ten times less than others, and rare tasks vary more than
    frequent ones, so a pooled spread would be too small where it matters.

    Source:
        Banerjee, "On Confidence Interval for Two-Means Problem Based on Separate Estimates of Variances and Tabulated
        Values of t-Table", Sankhyā A 23, 1961, for a quantile per part. Owen, "The Pigeonhole Bootstrap", Annals of
        Applied Statistics 1, 2007, for two crossed samples.

    Args:
        per_seed: Values on the test rows, [seeds].
        samples: Values on bootstrap samples that all seeds share, [draws, seeds].
        level: Confidence level.

    Returns:
        Mean and interval; all NaN if a value is undefined, or if fewer than two draws are defined.

    Example:
        >>> difference = interval(np.array([0.1, 0.2, 0.3]), np.array([[0.1, 0.2, 0.3]] * 10), 0.95)
        >>> round(difference.mean, 2), round(difference.high - difference.mean, 3)  # Student's, two degrees of freedom
        (0.2, 0.248)
    """
    samples = samples[np.isfinite(samples).all(axis=1)]
    mean, seeds = float(per_seed.mean()), len(per_seed)
    if math.isnan(mean) or len(samples) < 2:
        return Difference(math.nan, math.nan, math.nan)
    bootstrap = float(samples.mean(axis=1).var(ddof=1))
    spread = own = 0.0
    if seeds > 1:
        spread = float(per_seed.var(ddof=1)) / seeds
        own = float((samples - per_seed).var(axis=1, ddof=1).mean()) / seeds
    normal, student = student_quantile(level, math.inf), student_quantile(level, max(seeds - 1, 1))
    squared = normal**2 * max(bootstrap - own, 0.0) + student**2 * spread
    half = math.sqrt(max(squared, normal**2 * bootstrap))
    return Difference(mean, mean - half, mean + half)
