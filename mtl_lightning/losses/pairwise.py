"""Pairwise ranking within a group."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.batch import Output, Target
from mtl_lightning.interfaces import Loss, Task
from mtl_lightning.losses.groups import known_groups
from mtl_lightning.losses.rows import known_rows


class Pairwise(Loss):
    """−log σ(v_i − v_j) over pairs of a positive i and a negative j of one group, plus ``bce`` · cross-entropy.

    A row's loss is the mean over its partners; rows without one have zero. Ranking alone leaves probabilities
    undetermined; the cross-entropy keeps them calibrated. Pairs are formed within a process's part of the batch:
    with users scattered over processes there are fewer of them.

    Source: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005 (RankNet).

    Args:
        task: A binary task.
        bce: Weight of the cross-entropy.

    Shapes: logit [B, 1], label [B, 1], group [B] → scalar.

    Raises:
        MtlError: If the data have no group column.

    Example:
        >>> loss = Pairwise(Task(name="click", kind="binary", label="click"), bce=0.0)
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.tensor([True, True]),
        ...                 group=torch.tensor([5, 5]))
        >>> round(loss(Output(torch.zeros(2, 1)), target, {}).item(), 4)
        0.6931
    """

    kinds = frozenset({"binary"})

    def __init__(self, task: Task, *, bce: float = 1.0) -> None:
        super().__init__()
        self.bce = bce

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        logit = known_rows(output.logit, target)
        label = target.label.to(logit.dtype)
        group = known_groups("pairwise", target)
        positive = (label[:, 0] > 0.5) & target.mask
        first, second = positive.nonzero()[:, 0], (~positive & target.mask).nonzero()[:, 0]
        pairs = (group[first].unsqueeze(1) == group[second].unsqueeze(0)).nonzero()
        winner, loser = first[pairs[:, 0]], second[pairs[:, 1]]
        cost = functional.softplus(logit[loser, 0] - logit[winner, 0])
        values = torch.zeros_like(logit[:, 0])
        for rows in (winner, loser):
            partners = torch.bincount(rows, minlength=len(values)).clamp(min=1)
            values = values.index_add(0, rows, cost / partners[rows])
        if self.bce > 0:
            entropy = functional.binary_cross_entropy_with_logits(logit, label, reduction="none")
            values = values + self.bce * entropy[:, 0]
        return target.mean(values)
