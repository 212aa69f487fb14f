"""Listwise ranking within a group."""

from torch import Tensor

from mtl_lightning.losses.groups import RankingLoss, group_log_softmax


class Listwise(RankingLoss):
    """−log(e^v_i / Σ_j e^v_j) over the positives i, j running over the group's rows, plus ``bce`` · cross-entropy.

    Ranking alone leaves probabilities undetermined; the cross-entropy keeps them calibrated. Lists are formed within
    the global batch, over processes.

    Source: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007 (ListNet, top one).

    Args:
        task: A binary task.
        bce: Weight of the cross-entropy.

    Shapes: logit [B, 1], label [B, 1], group [B] → scalar.

    Raises:
        MtlError: If the data have no group column.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Output, Target, Task
        >>> loss = Listwise(Task(name="click", kind="binary", label="click"), bce=0.0)
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.tensor([True, True]),
        ...                 group=torch.tensor([5, 5]))
        >>> round(2 * loss(Output(torch.zeros(2, 1)), target, {}).item(), 4)  # one positive of two rows
        0.6931
    """

    name = "listwise"

    @staticmethod
    def row_loss(score: Tensor, label: Tensor, group: Tensor) -> Tensor:
        """The positives' cost against their group, [N]."""
        return -label * group_log_softmax(score[:, 0], group)
