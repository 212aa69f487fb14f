"""Root mean squared error."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight, weighted_sum


class RootMeanSquaredError(TaskMetric):
    """Root mean squared error, in the unit of the label.

    Args:
        task: A regression, count, value or ordinal task.

    Returns from ``compute``: a scalar ≥ 0; NaN without known rows.

    Example:
        >>> metric = RootMeanSquaredError(Task(name="dwell", kind="regression", label="dwell"))
        >>> target = Target(label=torch.tensor([[3.0], [8.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([4.0, 5.0]), target)
        >>> round(metric.compute().item(), 4)
        2.2361
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"count", "ordinal", "regression", "value"})
    higher_is_better = False
    error: Tensor
    weight: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add_state("error", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` is in the unit of the label, [B]."""
        weight = row_weight(target)
        error = (prediction.detach().to(torch.float64) - target.label[:, 0]).square()
        self.error += weighted_sum(error, weight)
        self.weight += weight.sum()

    def compute(self) -> Tensor:
        """The root, a scalar."""
        return ratio(self.error, self.weight).sqrt()
