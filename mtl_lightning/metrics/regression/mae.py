"""Mean absolute error."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target
from mtl_lightning.metrics.sums import MeanMetric


class MeanAbsoluteError(MeanMetric):
    """Mean absolute error, in the unit of the label.

    Args:
        task: A regression, count, value or ordinal task.

    Returns from ``compute``: a scalar ≥ 0; NaN without known rows.

    Example:
        >>> from mtl_lightning.interfaces import Task
        >>> metric = MeanAbsoluteError(Task(name="dwell", kind="regression", label="dwell"))
        >>> target = Target(label=torch.tensor([[3.0], [8.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([4.0, 5.0]), target)
        >>> metric.compute().item()
        2.0
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"count", "ordinal", "regression", "value"})
    higher_is_better = False

    def row_values(self, prediction: Tensor, target: Target) -> Tensor:
        """Absolute errors; ``prediction`` is in the unit of the label, [B]."""
        return (prediction.to(torch.float64) - target.label[:, 0]).abs()
