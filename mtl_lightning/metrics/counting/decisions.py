"""Right and wrong decisions of a binary task at one threshold."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.bounds import Share
from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import row_weight, weighted_sum


class Decisions(TaskMetric):
    """Counts of true and false positives and negatives; what precision, recall and F1 are made of.

    Args:
        task: A binary task.
        threshold: A row is called positive from this probability on.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary"})
    higher_is_better = True
    hits: Tensor
    called: Tensor
    positives: Tensor

    def __init__(self, task: Task, *, threshold: Share = 0.5) -> None:
        super().__init__(task)
        self.threshold = threshold
        for name in ("hits", "called", "positives"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B]."""
        weight, label = row_weight(target), target.label[:, 0]
        called = (prediction.detach() >= self.threshold).to(torch.float64)
        called = torch.where(prediction.detach().isnan(), torch.nan, called)
        self.hits += weighted_sum(called * label, weight)
        self.called += weighted_sum(called, weight)
        self.positives += weighted_sum(label, weight)
