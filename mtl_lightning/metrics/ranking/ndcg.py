"""Normalised discounted cumulative gain within users."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import PositiveInt, Task
from mtl_lightning.metrics.ranking.grouped_metric import GroupedMetric, group_mean
from mtl_lightning.metrics.ranking.order import Ranking, rank
from mtl_lightning.metrics.row_weights import ratio


class NDCG(GroupedMetric):
    """Mean over groups (users) of DCG@k / ideal DCG@k, with the label as gain and 1 / log2(place + 1) as discount.

    A label below 0 counts as a gain of 0. Rows of equal score share the mean of their gains, so the order of rows in
    the log has no effect. Users without a positive label are left out. All users count the same; sample weights are
    not used.

    Args:
        task: A task of data with a group column (``data.group``).
        k: Number of top places that count; None for all.

    Returns from ``compute``: a scalar in [0, 1]; NaN without a user who has a positive label, or with a
    NaN prediction.

    Source:
        Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002; ties as in McSherry and
        Najork, "Computing information retrieval performance measures efficiently in the presence of tied scores", 2008.

    Example:
        >>> from mtl_lightning.interfaces import Target
        >>> metric = NDCG(Task(name="click", kind="binary", label="click"), k=2)
        >>> label, user = torch.tensor([[1.0], [0.0], [0.0]]), torch.tensor([7, 7, 7])
        >>> known = torch.ones(3, dtype=torch.bool)
        >>> metric.update(torch.tensor([0.5, 0.8, 0.1]), Target(label=label, mask=known, group=user))
        >>> round(metric.compute().item(), 4)  # 1 / log2(3)
        0.6309
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "ordinal", "regression", "value"})
    higher_is_better = True
    name = "ndcg"

    def __init__(self, task: Task, *, k: PositiveInt | None = 10) -> None:
        super().__init__(task)
        self.k = k

    def gain(self, ranking: Ranking) -> Tensor:
        """DCG@k of each group, in ascending order of group, [G]."""
        discount = 1 / torch.log2(ranking.position.to(torch.float64) + 2)
        if self.k is not None:
            discount = torch.where(ranking.position < self.k, discount, 0.0)
        mean = ranking.per_level(ranking.rows[:, 1].clamp_min(0)) / ranking.per_level(torch.ones_like(discount))
        return ranking.per_group(mean * ranking.per_level(discount))

    def compute(self) -> Tensor:
        """The mean, a scalar. All processes must call it."""
        rows, group = self.owned()
        gain = self.gain(rank(rows, group, descending=True))
        ideal = self.gain(rank(rows, group, by=1, descending=True))
        return group_mean(ratio(gain, ideal), (ideal > 0).to(torch.float64), rows[:, 0].isnan())
