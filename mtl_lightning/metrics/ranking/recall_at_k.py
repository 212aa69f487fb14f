"""Recall in the top k places, within users."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import PositiveInt, Task
from mtl_lightning.metrics.ranking.grouped_metric import GroupedMetric, group_mean
from mtl_lightning.metrics.ranking.order import rank
from mtl_lightning.metrics.row_weights import ratio


class RecallAtK(GroupedMetric):
    """Mean over groups (users) of the share of their positive rows that are among the top k.

    If equal scores straddle place k, the value is the mean over all orders of these rows. Users without a positive row
    are left out. All users count the same; sample weights are not used.

    Args:
        task: A binary task, of data with a group column (``data.group``).
        k: Number of top places that count.

    Returns from ``compute``: a scalar in [0, 1]; NaN without a user who has a positive row, or with a
    NaN prediction.

    Source:
        Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4.

    Example:
        >>> from mtl_lightning.interfaces import Target
        >>> metric = RecallAtK(Task(name="click", kind="binary", label="click"), k=1)
        >>> label, user = torch.tensor([[1.0], [0.0], [1.0]]), torch.tensor([7, 7, 7])
        >>> known = torch.ones(3, dtype=torch.bool)
        >>> metric.update(torch.tensor([0.9, 0.8, 0.1]), Target(label=label, mask=known, group=user))
        >>> metric.compute().item()
        0.5
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary"})
    higher_is_better = True
    name = "recall_at_k"

    def __init__(self, task: Task, *, k: PositiveInt = 10) -> None:
        super().__init__(task)
        self.k = k

    def compute(self) -> Tensor:
        """The mean, a scalar. All processes must call it."""
        rows, group = self.owned()
        ranking = rank(rows, group, descending=True)
        label = ranking.rows[:, 1]
        size, positive = ranking.per_level(torch.ones_like(label)), ranking.per_level(label)
        inside = ranking.per_level((ranking.position < self.k).to(torch.float64))
        hits, positives = ranking.per_group(positive * inside / size), ranking.per_group(positive)
        return group_mean(ratio(hits, positives), (positives > 0).to(torch.float64), rows[:, 0].isnan())
