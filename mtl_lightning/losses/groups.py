"""Rows of the global batch by group, for losses that compare rows of one user."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.batch import WITHOUT_GROUP, Output, Target
from mtl_lightning.distributed import gather, world_size
from mtl_lightning.interfaces import Loss, MtlError, NonNegativeFloat, Task
from mtl_lightning.losses.rows import cross_entropy, known_rows

RowLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Scores [N, K], labels [N] and group numbers [N] → a value per row, [N]."""


def grouped_mean(loss: str, score: Tensor, target: Target, row_loss: RowLoss) -> Tensor:
    """Mean over known labels of the global batch of a loss that compares rows of one group.

    The rows of one user are spread over several processes. In training, each process gathers the others' scores and
    labels as constants, computes the global mean, and takes the gradient by its own scores. The mean of these gradients
    over processes equals the gradient of a single process.

    Args:
        loss: Name of the loss, for the message.
        score: Scores, [B, K].
        target: The task's target; rows without a known label get groups of their own.
        row_loss: The value of each row, from scores, labels and group numbers of all gathered rows.

    Raises:
        MtlError: If the data have no group column.

    Example:
        >>> target = Target(label=torch.ones(3, 1), mask=torch.tensor([True, True, False]),
        ...                 group=torch.tensor([7, 7, 7]))
        >>> sizes = lambda score, label, group: torch.bincount(group)[group].double()
        >>> grouped_mean("pairwise", torch.zeros(3, 1), target, sizes).item()
        2.0
    """
    if target.group is None:
        raise MtlError(f"losses: {loss} compares rows of one group, and the data have none", "set data.group")
    score = known_rows(score, target)
    if target.count is None or world_size() == 1:
        return target.mean(row_loss(score, target.label[:, 0].to(score.dtype), _numbers(target.group, target.mask)))
    world = world_size()
    whole, others, own = _whole(score, target)
    live = torch.cat([others[: own.start], score, others[own.stop :]])
    group = gather(target.group.unsqueeze(1))[:, 0]
    value = whole.mean(row_loss(live, whole.label[:, 0], _numbers(group, whole.mask)))
    # The mean over processes divides this process's part of the gradient by their number.
    return value + (world - 1) * (value - value.detach())


class RankingLoss(Loss):
    """A loss that compares rows of one group, plus ``bce`` · cross-entropy.

    Ranking alone leaves probabilities undetermined; the cross-entropy keeps them calibrated.

    Args:
        task: A binary task.
        bce: Weight of the cross-entropy.

    Shapes: logit [B, 1], label [B, 1], group [B] → scalar.
    """

    kinds = frozenset({"binary"})
    name: ClassVar[str]
    """Name of the loss, for messages."""

    def __init__(self, task: Task, *, bce: NonNegativeFloat = 1.0) -> None:
        super().__init__()
        self.bce = bce

    @staticmethod
    @abstractmethod
    def row_loss(score: Tensor, label: Tensor, group: Tensor) -> Tensor:
        """Value of each row, [N], from scores [N, 1], labels [N] and group numbers [N]."""

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        value = grouped_mean(self.name, output.logit, target, self.row_loss)
        return value + self.bce * cross_entropy(output, target) if self.bce > 0 else value


def group_log_softmax(score: Tensor, group: Tensor) -> Tensor:
    """log(e^v_i / Σ_j e^v_j) with j over the rows of i's group, [N].

    Args:
        score: Scores v, [N].
        group: Group numbers from 0, [N].

    Example:
        >>> group_log_softmax(torch.zeros(3), torch.tensor([0, 0, 1])).exp()
        tensor([0.5000, 0.5000, 1.0000])
    """
    size = int(group.max()) + 1 if len(group) else 0
    largest = score.new_full((size,), -torch.inf).scatter_reduce(0, group, score.detach(), "amax")
    total = score.new_zeros(size).index_add(0, group, (score - largest[group]).exp())
    return score - largest[group] - total[group].log()


def _numbers(group: Tensor, mask: Tensor) -> Tensor:
    """Group number of each row, [N]; rows without a known label, or of no group, get groups of their own."""
    _, number = torch.unique(group, return_inverse=True)
    return torch.where(
        mask & (group != WITHOUT_GROUP), number, len(number) + torch.arange(len(number), device=number.device)
    )


def _whole(score: Tensor, target: Target) -> tuple[Target, Tensor, slice]:
    """The target and the scores [N, K] of the global batch, and the slice of this process's rows."""
    rank = torch.distributed.get_rank()
    known = target.mask.to(score.dtype)
    weight = torch.ones_like(known) if target.weight is None else target.weight.to(score.dtype)
    row = torch.stack([torch.full_like(known, rank), known, weight, target.label[:, 0].to(score.dtype)], dim=1)
    values = gather(torch.cat([row, score.detach()], dim=1))
    start = int((values[:, 0] < rank).sum())
    count = None if target.count is None else target.count * world_size()
    whole = Target(label=values[:, 3:4], mask=values[:, 1] > 0, weight=values[:, 2], count=count)
    return whole, values[:, 4:], slice(start, start + len(score))
