"""Share of correctly predicted rows."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Share, Target, Task
from mtl_lightning.metrics.sums import MeanMetric


class Accuracy(MeanMetric):
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

    def __init__(self, task: Task, *, threshold: Share = 0.5) -> None:
        super().__init__(task)
        self.threshold = threshold

    def row_values(self, prediction: Tensor, target: Target) -> Tensor:
        """1 for a correct row, otherwise 0; ``prediction`` holds probabilities, [B] or [B, classes]."""
        predicted = prediction.argmax(1) if prediction.ndim > 1 else prediction >= self.threshold
        broken = prediction.isnan().any(1) if prediction.ndim > 1 else prediction.isnan()
        return torch.where(broken, torch.nan, (predicted == target.label[:, 0]).to(torch.float64))
