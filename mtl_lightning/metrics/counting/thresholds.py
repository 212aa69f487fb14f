"""Decisions of a binary task at the threshold with the best F1."""

import math

import torch
from torch import Tensor, nn

from mtl_lightning.batch import Target
from mtl_lightning.distributed import reduce_sum
from mtl_lightning.metrics.binary.histogram import BINS, LOW, STEP, bin_index
from mtl_lightning.metrics.row_weights import row_weight


class Thresholds(nn.Module):
    """Weights of positive and negative rows per bin of the logit, which determine the decisions at any threshold.

    Exact across processes. Thresholds are edges of the bins of :mod:`~mtl_lightning.metrics.binary.histogram`.

    Example:
        >>> thresholds = Thresholds()
        >>> target = Target(label=torch.tensor([[1.0], [0.0], [1.0]]), mask=torch.ones(3, dtype=torch.bool))
        >>> thresholds.update(torch.tensor([0.4, 0.1, 0.8]), target)
        >>> counts = thresholds.counts()
        >>> edge = best_edge(counts)
        >>> round(threshold(edge), 3), decisions(counts, edge)["f1"]
        (0.4, 1.0)
    """

    histogram: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("histogram", torch.zeros(2, BINS + 1, dtype=torch.float64))

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B]."""
        weight, label, known = row_weight(target), target.label[:, 0], target.mask
        bins = bin_index(prediction[known])
        self.histogram[0].index_add_(0, bins, (weight * label)[known])
        self.histogram[1].index_add_(0, bins, (weight * (1 - label))[known])

    def counts(self) -> Tensor:
        """Positive and negative weight per bin over all processes, [2, BINS + 1]."""
        return reduce_sum(self.histogram)


def best_edge(counts: Tensor) -> int | None:
    """First bin of the rows called positive for the largest F1; None without a positive row.

    Of several such bins it is the highest.

    Args:
        counts: From :meth:`Thresholds.counts`.
    """
    if counts[:, -1].any() or counts[0].sum() == 0:
        return None
    hits, called = counts[0, :-1].flip(0).cumsum(0), counts[:, :-1].sum(0).flip(0).cumsum(0)
    f1 = 2 * hits / (called + hits[-1])
    return BINS - 1 - int(f1.argmax())


def threshold(edge: int) -> float:
    """Probability at the lower edge of a bin."""
    return 1 / (1 + math.exp(-(LOW + edge * STEP)))


def decisions(counts: Tensor, edge: int) -> dict[str, float]:
    """Precision, recall, F1 and accuracy if rows in bin ``edge`` and above are called positive; NaN where undefined.

    Args:
        counts: From :meth:`Thresholds.counts`.
        edge: From :func:`best_edge`, of the same or another split.
    """
    hits, false_alarms = counts[:, edge:-1].sum(1).tolist()
    positives, negatives = counts.sum(1).tolist()
    if counts[:, -1].any():
        hits = math.nan
    return {
        "precision": _ratio(hits, hits + false_alarms),
        "recall": _ratio(hits, positives),
        "f1": _ratio(2 * hits, hits + false_alarms + positives),
        "accuracy": _ratio(hits + negatives - false_alarms, positives + negatives),
    }


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
