"""Mean F1 over classes."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight


class MacroF1(TaskMetric):
    """Unweighted mean over classes of the F1 of this class against all others. The most probable class is predicted.

    Classes that are neither present nor predicted are left out.

    Args:
        task: A multiclass task with predictions [B, classes] and the class index as label.

    Returns from ``compute``: a scalar in [0, 1]; NaN without known rows or with a NaN prediction.

    Example:
        >>> metric = MacroF1(Task(name="topic", kind="multiclass", label="topic", classes=3))
        >>> target = Target(label=torch.tensor([[2.0], [0.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.6, 0.1]]), target)
        >>> round(metric.compute().item(), 4)  # classes 2, 0 and 1 have 1, 0 and 0
        0.3333
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    higher_is_better = True
    confusion: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        shape = (task.classes, task.classes)
        self.add_state("confusion", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B, classes]."""
        prediction, weight = prediction.detach(), row_weight(target)
        cell = target.label[:, 0].to(torch.int64) * self.task.classes + prediction.argmax(1)
        broken = prediction.isnan().any(1) & (weight > 0)
        self.confusion.view(-1).scatter_add_(0, cell, torch.where(broken, torch.nan, weight))

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        sides = self.confusion.sum(0) + self.confusion.sum(1)
        mean = ratio(2 * self.confusion.diagonal(), sides).nanmean()
        return torch.where(self.confusion.isnan().any(), torch.nan, mean)
