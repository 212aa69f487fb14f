"""Bases of metrics made of sums over rows."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight, weighted_sum


class SumMetric(TaskMetric):
    """Metric of float64 sums, which add up over batches and processes.

    Args:
        task: The task.
    """

    sums: ClassVar[tuple[str, ...]]
    """Names of the sums; each is a state, a scalar that starts at 0."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        for name in self.sums:
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")


class MeanMetric(SumMetric):
    """Weighted mean of one value per row; NaN without known rows.

    Args:
        task: The task.
    """

    sums = ("total", "weight")
    total: Tensor
    weight: Tensor

    @abstractmethod
    def row_values(self, prediction: Tensor, target: Target) -> Tensor:
        """Value of each row, [B]; of unknown rows any value.

        Args:
            prediction: What the task's head predicts, [B] or [B, K], detached.
            target: The labels.
        """

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch of predictions, [B] or [B, K]."""
        weight = row_weight(target)
        self.total += weighted_sum(self.row_values(prediction.detach(), target), weight)
        self.weight += weight.sum()

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return ratio(self.total, self.weight)
