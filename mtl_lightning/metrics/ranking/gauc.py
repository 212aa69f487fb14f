"""Mean area under the ROC curve within users."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from mtl_lightning.interfaces import Task
from mtl_lightning.metrics.ranking.group_areas import areas_by_group
from mtl_lightning.metrics.ranking.grouped_metric import GroupedMetric, group_mean, stack_parts
from mtl_lightning.metrics.ranking.rare_positives import sum_areas


class GAUC(GroupedMetric):
    """Mean of the AUCs within groups (users), each exact; ties count one half.

    Users with one class only have no AUC and are left out. Rows are weighted as in the loss (``sample_weight``).

    Args:
        task: A binary task, of data with a group column (``data.group``).
        users: Weights of users in the mean. ``rows``: their numbers of rows (impressions, as in the paper), or the
            sums of their rows' sample weights. ``equal``: all the same.

    Returns from ``compute``: a scalar in [0, 1]; NaN without a user who has both classes, or with a NaN
    prediction.

    Source:
        Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, equation 7.

    Example:
        >>> from mtl_lightning.interfaces import Target
        >>> metric = GAUC(Task(name="click", kind="binary", label="click"))
        >>> label, user = torch.tensor([[1.0], [0.0], [1.0], [0.0], [0.0]]), torch.tensor([7, 7, 9, 9, 9])
        >>> known = torch.ones(5, dtype=torch.bool)
        >>> metric.update(torch.tensor([0.9, 0.2, 0.5, 0.8, 0.1]), Target(label=label, mask=known, group=user))
        >>> metric.compute().item()  # (2 × 1 + 3 × .5) / 5
        0.7
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary"})
    higher_is_better = True
    name = "gauc"

    def __init__(self, task: Task, *, users: Literal["rows", "equal"] = "rows") -> None:
        super().__init__(task)
        self.users = users

    def compute(self) -> Tensor:
        """The mean, a scalar. All processes must call it."""
        parts = self.parts()
        equal = self.users == "equal"
        sums = sum_areas(parts, equal=equal)
        if sums is not None:
            return group_mean(sums[:1] / sums[1:], sums[1:], sums.new_zeros(0, dtype=torch.bool))
        rows, group = stack_parts(parts, self.device)
        area, pairs, size = areas_by_group(rows, group)
        share = torch.where(pairs > 0, torch.ones_like(pairs) if equal else size, 0.0)
        return group_mean(area, share, rows[:, 0].isnan())
