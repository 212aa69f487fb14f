"""Monotone maps from the log-odds of a model to calibrated log-odds, fitted on histograms of validation rows.

Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999; Zadrozny and Elkan, "Transforming Classifier
Scores into Accurate Multiclass Probability Estimates", KDD 2002 (isotonic regression). The spline is a logistic
regression on ramps between quantiles of the log-odds, whose slopes are not negative.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_lightning.metrics.binary.histogram import BINS, LOW, STEP

Floats = NDArray[np.float64]

CENTRES: Floats = LOW + STEP * (np.arange(BINS, dtype=np.float64) + 0.5)
"""Log-odds at the centre of each bin of predictions, [bins]."""

METHODS = ("platt", "isotonic", "spline")
"""Methods of calibration, the default one first."""

PIECES = 8
"""Number of linear pieces of a spline."""


def fit(method: str, positive: Floats, negative: Floats, log_odds: Floats = CENTRES) -> dict[str, Any]:
    """Fit a map from log-odds to calibrated log-odds.

    Args:
        method: One of :data:`METHODS`.
        positive: Weight of positive rows by log-odds, [bins].
        negative: Weight of negative rows by log-odds, [bins].
        log_odds: Increasing log-odds of a model, [bins].

    Returns:
        ``a`` and ``b`` of Platt scaling (None if all labels are equal), or ``points``: pairs of log-odds and calibrated
        log-odds, both increasing, none if all labels are equal.

    Example:
        >>> rows = 1000 / (1 + np.exp(-CENTRES))  # as the log-odds predict
        >>> {key: abs(round(value, 3)) for key, value in fit("platt", rows, 1000 - rows).items()}
        {'a': 1.0, 'b': 0.0}
        >>> fitted = fit("isotonic", np.array([1.0, 1, 3]), np.array([1.0, 3, 1]), np.array([-1.0, 0, 1]))
        >>> [[x, round(y, 3)] for x, y in fitted["points"]]
        [[-1.0, -0.693], [0.0, -0.693], [1.0, 1.099]]
    """
    rows = positive + negative
    used = rows > 0
    if not positive.sum() > 0 or not negative.sum() > 0:
        return {"a": None, "b": None} if method == "platt" else {"points": []}
    x, rows, wins = log_odds[used], rows[used], positive[used]
    if method == "platt":
        middle = float((rows * x).sum() / rows.sum())
        design = np.stack([x - middle, np.ones_like(x)], axis=1)
        slope, shift = _logistic(design, rows, wins, np.array([1.0, 0.0]), np.array([1e-3, 0.0]), np.full(2, -np.inf))
        return {"a": float(slope), "b": float(shift - slope * middle)}
    points = _isotonic(x, rows, wins) if method == "isotonic" else _spline(x, rows, wins)
    return {"points": [[float(first), float(second)] for first, second in points]}


def fit_part(positive: Floats, negative: Floats, log_odds: Floats) -> tuple[float, float]:
    """Fit a and b of a part of the rows, close to 1 and 0 where it has few rows.

    Args:
        positive: Weight of positive rows by log-odds, [bins].
        negative: Weight of negative rows by log-odds, [bins].
        log_odds: Log-odds that are calibrated for all rows together, [bins].

    Returns:
        a and b: a · log-odds + b are the part's calibrated log-odds. Their priors are normal, with means 1 and 0 and
        standard deviations 1/4 and 1/2.

    Example:
        >>> x = np.array([-1.0, 1.0])
        >>> fit_part(np.zeros(2), np.zeros(2), x)
        (1.0, 0.0)
        >>> fit_part(np.array([0.0, 0.0]), np.array([5.0, 5.0]), x)[1] < 0
        True
    """
    design = np.stack([log_odds, np.ones_like(log_odds)], axis=1)
    floor = np.array([0.1, -np.inf])
    slope, shift = _logistic(
        design, positive + negative, positive, np.array([1.0, 0.0]), np.array([16.0, 4.0]), floor, start=(1.0, 0.0)
    )
    return float(slope), float(shift)


def calibrated(log_odds: Floats, fitted: Mapping[str, Any]) -> Floats:
    """Return calibrated log-odds, of the shape of ``log_odds``.

    Between points the map is linear, and beyond the first and the last one it moves all log-odds by the same number.

    Args:
        log_odds: Log-odds of a model.
        fitted: Result of :func:`fit`.

    Example:
        >>> calibrated(np.array([0.5, 3.0]), {"points": [[0.0, 1.0], [1.0, 1.0]]}).tolist()
        [1.0, 3.0]
    """
    if (points := fitted.get("points")) is None:
        result: Floats = fitted["a"] * log_odds + fitted["b"]
        return result
    x, y = np.array(points).T
    inside = np.clip(log_odds, x[0], x[-1])
    moved: Floats = np.interp(inside, x, y) + (log_odds - inside)
    return moved


def _logistic(
    design: Floats,
    rows: Floats,
    wins: Floats,
    centre: Floats,
    precision: Floats,
    floor: Floats,
    start: tuple[float, ...] | None = None,
) -> Floats:
    """Coefficients with the smallest penalised log loss, none below its floor, by projected Newton steps.

    Args:
        design: Values by row, [n, k]; the last column is 1.
        rows: Weights, [n].
        wins: Weights of positive rows, [n].
        centre: Means of the normal priors, [k].
        precision: Inverse variances of the priors, [k].
        floor: Smallest coefficients, [k].
        start: Coefficients at the start; None for the share of positive rows, from which Newton's method converges.
    """
    share = wins.sum() / rows.sum() if start is None else 0.5
    now = np.array([*np.zeros(len(centre) - 1), np.log(share / (1 - share))] if start is None else start)

    def loss(coefficients: Floats) -> float:
        z = design @ coefficients
        prior = (precision * (coefficients - centre) ** 2).sum() / 2
        return float((rows * np.logaddexp(0, z) - wins * z).sum() + prior)

    for _ in range(100):
        p = probability(design @ now)
        gradient = design.T @ (rows * p - wins) + precision * (now - centre)
        hessian = (design * (rows * p * (1 - p))[:, None]).T @ design + np.diag(precision + 1e-12)
        free = (now > floor) | (gradient < 0)
        step = np.zeros_like(now)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        scale, before = 1.0, loss(now)
        while scale > 1e-6 and loss(np.maximum(now - scale * step, floor)) > before:
            scale /= 2
        moved = np.maximum(now - scale * step, floor)
        if np.abs(moved - now).max() < 1e-9:
            return moved
        now = moved
    return now


def probability(log_odds: Floats) -> Floats:
    """Probabilities of log-odds, of the same shape, without overflow.

    Example:
        >>> probability(np.array([0.0, -np.inf, 1e9])).tolist()
        [0.5, 0.0, 1.0]
    """
    return 0.5 * (1 + np.tanh(log_odds / 2))


def _isotonic(x: Floats, rows: Floats, wins: Floats) -> list[tuple[float, float]]:
    """Both ends of each block of pooled adjacent violators; a share of 0 or 1 is half a row away from it."""
    blocks: list[tuple[float, float, float, float]] = []
    for place, weight, positive in zip(x.tolist(), rows.tolist(), wins.tolist(), strict=True):
        first, total, won = place, weight, positive
        while blocks and blocks[-1][3] * total >= won * blocks[-1][2]:  # share of the last block ≥ share of this one
            first, _, more, pooled = blocks.pop()
            total, won = total + more, won + pooled
        blocks.append((first, place, total, won))
    shares = [won / total for _, _, total, won in blocks]
    # Rows of small weights may weigh less than one row together.
    least = min(0.5 / float(rows.sum()), 0.25, *(min(share, 1 - share) for share in shares if 0 < share < 1))
    shares = [min(max(share, least), 1 - least) for share in shares]
    heights = [float(np.log(share / (1 - share))) for share in shares]
    points = []
    for (first, last, _, _), height in zip(blocks, heights, strict=True):
        points += [(first, height)] if first == last else [(first, height), (last, height)]
    return points


def _spline(x: Floats, rows: Floats, wins: Floats) -> list[tuple[float, float]]:
    """Knots of a monotone linear spline, at quantiles of the rows; slopes have a normal prior (mean 1, variance 1)."""
    middle = np.cumsum(rows) - rows / 2
    quantiles = np.interp(np.linspace(0, rows.sum(), PIECES + 1), middle, x)
    knots = np.unique(np.concatenate([x[:1], quantiles, x[-1:]]))
    if len(knots) == 1:
        knots = np.array([knots[0], knots[0] + STEP])
    ramps = [np.clip(x, left, right) - left for left, right in pairwise(knots)]
    design = np.stack([*ramps, np.ones_like(x)], axis=1)
    slopes = len(ramps)
    centre, precision = np.array([1.0] * slopes + [0.0]), np.array([1.0] * slopes + [0.0])
    coefficients = _logistic(design, rows, wins, centre, precision, np.array([0.0] * slopes + [-np.inf]))
    heights = coefficients[-1] + np.concatenate([[0.0], np.cumsum(coefficients[:-1] * np.diff(knots))])
    return list(zip(knots.tolist(), heights.tolist(), strict=True))
