"""Share of correctly predicted rows."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.bounds import Share
from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight, weighted_sum


class Accuracy(TaskMetric):
    """Share of the rows whose label is predicted.

    Binary rows are decided by a threshold; of several classes the most probable one is predicted.

    Args:
        task: A binary task, or multiclass with predictions [B, classes] and the class index as label.
        threshold: Smallest probability at which a binary row is called positive.

    Returns from ``compute``: a scalar in [0, 1]; NaN without known rows or with a NaN prediction.

    Example:
        >>> metric = Accuracy(Task(name="topic", kind="multiclass", label="topic", classes=3))
        >>> target = Target(label=torch.tensor([[2.0], [0.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.6, 0.1]]), target)
        >>> metric.compute().item()
        0.5
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multiclass"})
    higher_is_better = True
    correct: Tensor
    weight: Tensor

    def __init__(self, task: Task, *, threshold: Share = 0.5) -> None:
        super().__init__(task)
        self.threshold = threshold
        self.add_state("correct", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B] or [B, classes]."""
        prediction = prediction.detach()
        predicted = prediction.argmax(1) if prediction.ndim > 1 else prediction >= self.threshold
        broken = prediction.isnan().any(1) if prediction.ndim > 1 else prediction.isnan()
        correct = (predicted == target.label[:, 0]).to(torch.float64)
        weight = row_weight(target)
        self.correct += weighted_sum(torch.where(broken, torch.nan, correct), weight)
        self.weight += weight.sum()

    def compute(self) -> Tensor:
        """The share, a scalar."""
        return ratio(self.correct, self.weight)
