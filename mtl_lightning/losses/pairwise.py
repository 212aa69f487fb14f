"""Pairwise ranking within a group."""

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.losses.groups import RankingLoss


class Pairwise(RankingLoss):
    """−log σ(v_i − v_j) over pairs of a positive i and a negative j of one group, plus ``bce`` · cross-entropy.

    A row's loss is the mean over its partners; rows without one have zero. Ranking alone leaves probabilities
    undetermined; the cross-entropy keeps them calibrated. Pairs are formed within the global batch, over processes.

    Source: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005 (RankNet).

    Args:
        task: A binary task.
        bce: Weight of the cross-entropy.

    Shapes: logit [B, 1], label [B, 1], group [B] → scalar.

    Raises:
        MtlError: If the data have no group column.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Output, Target, Task
        >>> loss = Pairwise(Task(name="click", kind="binary", label="click"), bce=0.0)
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.tensor([True, True]),
        ...                 group=torch.tensor([5, 5]))
        >>> round(loss(Output(torch.zeros(2, 1)), target, {}).item(), 4)
        0.6931
    """

    name = "pairwise"

    @staticmethod
    def row_loss(score: Tensor, label: Tensor, group: Tensor) -> Tensor:
        """Each row's mean cost over its partners, [N]; rows of unknown label are alone in their group."""
        positive = label > 0.5
        first, second = positive.nonzero()[:, 0], (~positive).nonzero()[:, 0]
        pairs = (group[first].unsqueeze(1) == group[second].unsqueeze(0)).nonzero()
        winner, loser = first[pairs[:, 0]], second[pairs[:, 1]]
        cost = functional.softplus(score[loser, 0] - score[winner, 0])
        values = torch.zeros_like(score[:, 0])
        for rows in (winner, loser):
            partners = torch.bincount(rows, minlength=len(values)).clamp(min=1)
            values = values.index_add(0, rows, cost / partners[rows])
        return values
