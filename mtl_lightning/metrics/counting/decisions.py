"""Counts of decisions of a binary task at one threshold."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Share, Target, Task
from mtl_lightning.metrics.row_weights import row_weight, weighted_sum
from mtl_lightning.metrics.sums import SumMetric


class Decisions(SumMetric):
    """Base of metrics that are ratios of hits, rows called positive, and positive rows.

    Args:
        task: A binary task.
        threshold: Smallest probability at which a row is called positive.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary"})
    higher_is_better = True
    sums = ("hits", "called", "positives")
    hits: Tensor
    called: Tensor
    positives: Tensor

    def __init__(self, task: Task, *, threshold: Share = 0.5) -> None:
        super().__init__(task)
        self.threshold = threshold

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B]."""
        weight, label = row_weight(target), target.label[:, 0]
        called = (prediction.detach() >= self.threshold).to(torch.float64)
        called = torch.where(prediction.detach().isnan(), torch.nan, called)
        self.hits += weighted_sum(called * label, weight)
        self.called += weighted_sum(called, weight)
        self.positives += weighted_sum(label, weight)
