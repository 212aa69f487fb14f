"""Effect among the rows with the highest predictions."""

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.bounds import PositiveShare
from mtl_lightning.interfaces import Task
from mtl_lightning.metrics.row_weights import ratio
from mtl_lightning.metrics.uplift.curves import UpliftMetric


class UpliftAtK(UpliftMetric):
    """Observed effect among the share k of rows with the highest predictions: rate with the treatment − rate without.

    The rows are chosen within each arm, so that the value is defined whatever the order. Of rows with equal predictions
    at the border, each counts in part.

    Args:
        task: A task of kind ``uplift``.
        k: Share of each arm.

    Returns from ``compute``: a scalar in [−1, 1]; NaN without rows in both arms.

    Source:
        ``uplift_at_k`` of scikit-uplift with ``strategy="by_group"``, there with rows at the border by their order.

    Example:
        >>> from mtl_lightning.interfaces import Target
        >>> metric = UpliftAtK(Task(name="sale", kind="uplift", label="sale"), k=0.5)
        >>> details = {"treatment": torch.tensor([1.0, 1.0, 0.0, 0.0])}
        >>> label, known = torch.tensor([[1.0], [0.0], [0.0], [1.0]]), torch.ones(4, dtype=torch.bool)
        >>> metric.update(torch.tensor([0.4, 0.2, 0.3, 0.3]), Target(label=label, mask=known, details=details))
        >>> metric.compute().item()  # 1 with the treatment, one half without it
        0.5
    """

    def __init__(self, task: Task, *, k: PositiveShare = 0.3) -> None:
        super().__init__(task)
        self.k = k

    @override
    def value(self, score: Tensor, label: Tensor, treatment: Tensor, weight: Tensor) -> Tensor:
        treated, control = (self.rate(score[arm], label[arm], weight[arm]) for arm in (treatment == 1, treatment == 0))
        return treated - control

    def rate(self, score: Tensor, label: Tensor, weight: Tensor) -> Tensor:
        """Share of positives among the first rows of an arm."""
        levels, level = torch.unique(score, return_inverse=True)
        sums = weight.new_zeros(2, len(levels))
        sums[0].scatter_add_(0, level, weight)
        sums[1].scatter_add_(0, level, weight * label)
        rows, positive = sums.flip(1)
        room = self.k * rows.sum()
        inside = (room - (rows.cumsum(0) - rows)).clamp(min=0).minimum(rows)
        return ratio((inside * ratio(positive, rows).nan_to_num()).sum(), inside.sum())
