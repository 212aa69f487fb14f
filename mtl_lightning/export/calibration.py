"""Calibration of predictions on the validation split: reliability tables, and maps to calibrated log-odds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import MtlError
from mtl_lightning.export.calibration_fits import CENTRES, calibrated, fit, fit_part
from mtl_lightning.export.ensemble import Average
from mtl_lightning.metrics.binary.histogram import BINS, bin_index
from mtl_lightning.schema import Schema
from mtl_lightning.training.network import Network

GROUPS = 10
"""Number of groups of a reliability table, with about equally many rows each."""

MOST = 1000
"""Largest number of values of a feature whose parts are calibrated."""


def check_parts(schema: Schema, feature: str) -> None:
    """Check that the values of a feature can be calibrated apart.

    Raises:
        MtlError: If there is no such feature with one id per row, or it has more than :data:`MOST` ids.
    """
    sizes = {field.name: field.size for field in schema.of_kind("categorical")}
    if feature not in sizes:
        raise MtlError(f"calibrate_by: no feature {feature!r} with one id per row", f"choose among {', '.join(sizes)}")
    if sizes[feature] > MOST:
        raise MtlError(f"calibrate_by: {feature} has {sizes[feature]:,} values, more than {MOST:,}")


def measure(
    network: Network | Average, store: Store, size: int, method: str = "platt", by: str | None = None
) -> dict[str, dict[str, Any]]:
    """Measure the calibration of each task that has one value per row, on the scale of its label.

    Args:
        network: A network or an average.
        store: Rows with labels.
        size: Number of rows of a batch.
        method: One of :data:`~mtl_lightning.export.calibration_fits.METHODS`.
        by: Feature with one id per row, whose values are calibrated apart; None for all rows together.

    Returns:
        Per task a record with

        - ``rows``: weight of the rows with a known label;
        - ``predicted`` and ``observed``: means of predictions and labels over these rows;
        - ``reliability``, for binary tasks: the same three values for groups of rows by their prediction;
        - ``a`` and ``b``, or ``points``, for binary tasks: see :func:`~mtl_lightning.export.calibration_fits.fit`;
        - ``parts``, for binary tasks with ``by``: ``feature``, and ``ids`` with the ``a`` and ``b`` of each, which are
          applied after the map of all rows; see :func:`~mtl_lightning.export.calibration_fits.fit_part`.

    Raises:
        MtlError: If the values of ``by`` can't be calibrated.

    Example:
        See :func:`~mtl_lightning.export.calibration_fits.fit` and :func:`reliability`.
    """
    if by is not None:
        check_parts(network.schema, by)
    tasks = [task for task in network.schema.tasks if task.traits.scalar and not task.traits.difference]
    sums = {task.name: torch.zeros(3, dtype=torch.float64) for task in tasks}
    bins = {task.name: torch.zeros(2, BINS + 1, dtype=torch.float64) for task in tasks if task.traits.event_probability}
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in bins}
    training = network.training
    network.eval()
    device = next(network.parameters()).device
    for start in range(0, len(store), size):
        batch = store.batch(slice(start, start + size))
        with torch.inference_mode():
            predictions = {name: values.cpu() for name, values in network(batch.to(device)).items()}
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
                if by is not None:
                    rows = torch.stack([batch.id(by)[known].double(), index.double(), weight * label, weight])
                    parts[name].append(rows[:, index < BINS])
    network.train(training)
    records: dict[str, dict[str, Any]] = {}
    for name, total in sums.items():
        rows, predicted, observed = total.tolist()
        records[name] = (
            {"rows": rows, "predicted": predicted / rows, "observed": observed / rows} if rows else {"rows": 0}
        )
        if name in bins and rows:
            positive, negative = bins[name][:, :BINS].numpy()
            fitted = fit(method, positive, negative)
            records[name] |= {**fitted, "reliability": reliability(positive, negative)}
            if by is not None and (fitted.get("a") is not None or fitted.get("points")):
                records[name]["parts"] = {"feature": by, **_fit_parts(torch.cat(parts[name], 1).numpy(), fitted)}
    return records


def _fit_parts(rows: np.ndarray, fitted: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Fit the parts of a task; rows have an id, a bin, and the weights of a positive label and of the row, [4, n]."""
    table: dict[str, list[Any]] = {"ids": [], "a": [], "b": []}
    rows = rows[:, np.argsort(rows[0], kind="stable")]
    numbers, starts = np.unique(rows[0], return_index=True)
    for number, (_, index, wins, weight) in zip(numbers, np.split(rows, starts[1:], axis=1), strict=False):
        places, inverse = np.unique(index.astype(int), return_inverse=True)
        positive, total = (np.bincount(inverse, values).astype(np.float64) for values in (wins, weight))
        values = fit_part(positive, total - positive, calibrated(CENTRES[places], fitted))
        for name, value in zip(table, (int(number), *values), strict=True):
            table[name].append(value)
    return table


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
