"""Listwise ranking within a group."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.batch import Output, Target
from mtl_lightning.interfaces import Loss, Task
from mtl_lightning.losses.groups import known_groups
from mtl_lightning.losses.rows import known_rows


class Listwise(Loss):
    """−log(e^v_i / Σ_j e^v_j) over the positives i, j running over the group's rows, plus ``bce`` · cross-entropy.

    Ranking alone leaves probabilities undetermined; the cross-entropy keeps them calibrated. Lists are formed within
    a process's part of the batch.

    Source: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007 (ListNet, top one).

    Args:
        task: A binary task.
        bce: Weight of the cross-entropy.

    Shapes: logit [B, 1], label [B, 1], group [B] → scalar.

    Raises:
        MtlError: If the data have no group column.

    Example:
        >>> loss = Listwise(Task(name="click", kind="binary", label="click"), bce=0.0)
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.tensor([True, True]),
        ...                 group=torch.tensor([5, 5]))
        >>> round(2 * loss(Output(torch.zeros(2, 1)), target, {}).item(), 4)  # one positive of two rows
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
        group = known_groups("listwise", target)
        score = logit[:, 0]
        size = int(group.max()) + 1 if len(group) else 0
        largest = score.new_full((size,), -torch.inf).scatter_reduce(0, group, score.detach(), "amax")
        shifted = (score - largest[group]).exp()
        total = score.new_zeros(size).index_add(0, group, shifted)
        values = label[:, 0] * (total[group].log() + largest[group] - score)
        if self.bce > 0:
            entropy = functional.binary_cross_entropy_with_logits(logit, label, reduction="none")
            values = values + self.bce * entropy[:, 0]
        return target.mean(values)
