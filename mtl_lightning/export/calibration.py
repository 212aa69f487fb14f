"""Calibration of predictions on the validation split: reliability tables and Platt scaling.

Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, here with the log-odds of the model.
"""

from typing import Any

import numpy as np
import torch

from mtl_lightning.data.store.store import Store
from mtl_lightning.export.ensemble import Average
from mtl_lightning.metrics.binary.histogram import BINS, LOW, STEP, bin_index
from mtl_lightning.training.network import Network

GROUPS = 10
"""Number of groups of a reliability table, with about equally many rows each."""

CENTRES = LOW + STEP * (np.arange(BINS) + 0.5)
"""Log-odds at the centre of each bin of predictions, [bins]."""


def measure(network: Network | Average, store: Store, size: int) -> dict[str, dict[str, Any]]:
    """Measure the calibration of each task that has one value per row.

    Args:
        network: A network or an average, which is put into evaluation mode.
        store: Rows with labels.
        size: Number of rows of a batch.

    Returns:
        Per task a record with

        - ``rows``: weight of the rows with a known label;
        - ``predicted`` and ``observed``: means of predictions and labels over these rows;
        - ``reliability``, for binary tasks: the same three values for groups of rows by their prediction;
        - ``a`` and ``b``, for binary tasks: a · log-odds + b are the calibrated log-odds; None if all labels are equal.

    Example:
        See :func:`platt` and :func:`reliability`.
    """
    tasks = [task for task in network.schema.tasks if task.traits.scalar]
    sums = {task.name: torch.zeros(3, dtype=torch.float64) for task in tasks}
    bins = {task.name: torch.zeros(2, BINS + 1, dtype=torch.float64) for task in tasks if task.traits.event_probability}
    network.eval()
    for start in range(0, len(store), size):
        batch = store.batch(slice(start, start + size))
        with torch.inference_mode():
            predictions = network(batch)
        for name, total in sums.items():
            known = batch.known(name)
            prediction, label = predictions[name][known].double(), batch.label(name)[known, 0].double()
            weights = batch.task_weight(name)
            weight = torch.ones_like(label) if weights is None else weights[known].double()
            total += torch.stack([weight.sum(), (weight * prediction).sum(), (weight * label).sum()])
            if name in bins:
                index = bin_index(prediction)
                bins[name][0].index_add_(0, index, weight * label)
                bins[name][1].index_add_(0, index, weight * (1 - label))
    records: dict[str, dict[str, Any]] = {}
    for name, total in sums.items():
        rows, predicted, observed = total.tolist()
        records[name] = (
            {"rows": rows, "predicted": predicted / rows, "observed": observed / rows} if rows else {"rows": 0}
        )
        if name in bins and rows:
            positive, negative = bins[name][:, :BINS].numpy()
            slope, shift = platt(positive, negative)
            records[name] |= {"a": slope, "b": shift, "reliability": reliability(positive, negative)}
    return records


def platt(positive: np.ndarray, negative: np.ndarray) -> tuple[float | None, float | None]:
    """Fit a and b such that a · log-odds + b has the smallest log loss, by Newton's method.

    Args:
        positive: Weight of positive rows per bin of :data:`CENTRES`, [bins].
        negative: Weight of negative rows per bin, [bins].

    Returns:
        a and b; None and None if all labels are equal.

    Example:
        >>> rows = 1000 / (1 + np.exp(-CENTRES))  # as the log-odds predict
        >>> a, b = platt(rows, 1000 - rows)
        >>> round(a, 3), round(abs(b), 3)
        (1.0, 0.0)
    """
    if not positive.sum() > 0 or not negative.sum() > 0:
        return None, None
    used = (positive + negative) > 0
    x, rows, wins = CENTRES[used], (positive + negative)[used], positive[used]
    share = wins.sum() / rows.sum()
    middle = float((rows * x).sum() / rows.sum())
    slope, shift = 0.0, float(np.log(share / (1 - share)))  # Newton's method converges from this start
    centred, prior = x - middle, 1e-3

    def loss(a: float, b: float) -> float:
        z = a * centred + b
        return float((rows * np.logaddexp(0, z) - wins * z).sum() + prior * (a - 1) ** 2 / 2)

    for _ in range(100):
        p = 1 / (1 + np.exp(-(slope * centred + shift)))
        error, curve = rows * p - wins, rows * p * (1 - p)
        gradient = np.array([(error * centred).sum() + prior * (slope - 1), error.sum()])
        cross = (curve * centred).sum()
        hessian = np.array([[(curve * centred**2).sum() + prior, cross], [cross, curve.sum() + 1e-12]])
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while scale > 1e-6 and loss(slope - scale * step[0], shift - scale * step[1]) > loss(slope, shift):
            scale /= 2
        slope, shift = slope - scale * float(step[0]), shift - scale * float(step[1])
        if np.abs(scale * step).max() < 1e-9:
            break
    return slope, shift - slope * middle


def reliability(positive: np.ndarray, negative: np.ndarray, groups: int = GROUPS) -> list[dict[str, float]]:
    """Return the weight, mean prediction and share of positives of groups of rows with similar predictions.

    Args:
        positive: Weight of positive rows per bin of :data:`CENTRES`, [bins].
        negative: Weight of negative rows per bin, [bins].
        groups: Largest number of groups; rows of a bin stay together.

    Example:
        >>> positive, negative = np.zeros(BINS), np.zeros(BINS)
        >>> positive[BINS // 2], negative[BINS // 4] = 10, 30
        >>> [(group["rows"], group["observed"]) for group in reliability(positive, negative)]
        [(30.0, 0.0), (10.0, 1.0)]
    """
    rows = positive + negative
    ends = np.cumsum(rows)
    group = np.minimum((ends - rows / 2) * groups / ends[-1], groups - 1).astype(int)
    predicted = rows / (1 + np.exp(-CENTRES))
    table = []
    for number in range(groups):
        inside = group == number
        if (weight := float(rows[inside].sum())) > 0:
            mean, share = float(predicted[inside].sum() / weight), float(positive[inside].sum() / weight)
            table.append({"rows": weight, "predicted": mean, "observed": share})
    return table
