"""Coefficient of determination."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target, Task
from mtl_lightning.metrics.row_weights import ratio, row_weight, weighted_sum
from mtl_lightning.metrics.sums import SumMetric

ROUNDING = 1e-12
"""Relative standard deviation of the labels below which they count as equal."""


def merge_moments(parts: Tensor) -> Tensor:
    """Weight, mean and sum of squared deviations of a union, computed from its parts.

    Args:
        parts: [P, 3], a row (weight, mean, squares) per part; parts of weight 0 are ignored.

    Returns:
        [3] in the same order. Deviations are from the means, so labels far from 0 (times) keep their precision.

    Example:
        >>> merge_moments(torch.tensor([[1.0, 2.0, 0.0], [1.0, 4.0, 0.0]])).tolist()
        [2.0, 3.0, 2.0]
    """
    weight, mean, squares = parts.unbind(1)
    total = weight.sum()
    centre = (weight * mean).sum() / torch.where(total > 0, total, 1.0)
    return torch.stack([total, centre, (squares + weight * (mean - centre).square()).sum()])


class R2(SumMetric):
    """Coefficient of determination: 1 - squared error / squared deviation of the labels from their mean.

    1 is perfect, 0 is as good as predicting the mean label of the same rows, and below 0 is worse.

    Args:
        task: A regression, count or value task.

    Returns from ``compute``: a scalar ≤ 1; NaN without known rows, when all labels are equal, or
    with a NaN prediction.

    Example:
        >>> metric = R2(Task(name="dwell", kind="regression", label="dwell"))
        >>> target = Target(label=torch.tensor([[2.0], [4.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([2.0, 3.0]), target)
        >>> metric.compute().item()
        0.5
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"count", "regression", "value"})
    higher_is_better = True
    sums = ("error",)
    error: Tensor
    moments: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add_state("moments", torch.zeros(3, dtype=torch.float64), dist_reduce_fx=merge_moments)

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` is in the unit of the label, [B]."""
        weight, label = row_weight(target), target.label[:, 0].to(torch.float64)
        self.error += weighted_sum((prediction.detach() - label).square(), weight)
        batch = merge_moments(torch.stack([weight, label, torch.zeros_like(label)], 1))
        self.moments = merge_moments(torch.stack([self.moments, batch]))

    def compute(self) -> Tensor:
        """The coefficient, a scalar."""
        weight, mean, squares = self.moments
        # The mean of equal labels is rounded, so their deviations are not exactly 0.
        varied = squares > weight * (ROUNDING * mean).square()
        return torch.where(varied, 1 - ratio(self.error, squares), torch.nan)
