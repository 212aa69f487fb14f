"""Rows of a task kept until the end and ranked within groups, all groups at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.exchange import no_sync, route
from mtl_lightning.metrics.rows import row_weight


@dataclass(slots=True)
class Ranking:
    """Rows sorted by group, then by score, with equal scores of a group as one level.

    Args:
        order: Sorted order of the rows, [n].
        level: Level of each sorted row, [n], from 0, increasing.
        group: Group of each sorted row, [n], from 0, increasing.
        position: Place of each sorted row in its group, [n], from 0.
        level_group: Group of each level, [L].
        groups: Number of groups G.
    """

    order: Tensor
    level: Tensor
    group: Tensor
    position: Tensor
    level_group: Tensor
    groups: int

    def per_level(self, values: Tensor) -> Tensor:
        """Sum of values [n], in sorted order, per level, [L]."""
        return values.new_zeros(len(self.level_group)).scatter_add_(0, self.level, values)

    def per_group(self, values: Tensor) -> Tensor:
        """Sum of values per level [L], per group, [G]."""
        return values.new_zeros(self.groups).scatter_add_(0, self.level_group, values)


def rank(score: Tensor, group: Tensor, *, descending: bool = False) -> Ranking:
    """Rank rows within groups.

    Args:
        score: [n].
        group: [n] int64, any values.
        descending: Whether the best score comes first.

    Example:
        >>> ranking = rank(torch.tensor([0.2, 0.9, 0.2, 0.1]), torch.tensor([5, 5, 5, 3]))
        >>> ranking.order.tolist(), ranking.level.tolist(), ranking.position.tolist()
        ([3, 0, 2, 1], [0, 1, 1, 2], [0, 0, 1, 2])
    """
    order = torch.argsort(score, stable=True, descending=descending)
    order = order[torch.argsort(group[order], stable=True)]
    score, group = score[order], group[order]
    new_group = torch.ones(len(order), dtype=torch.bool, device=order.device)
    new_group[1:] = group[1:] != group[:-1]
    new_level = new_group.clone()
    new_level[1:] |= score[1:] != score[:-1]
    index = new_group.cumsum(0) - 1
    starts = new_group.nonzero()[:, 0]
    position = torch.arange(len(order), device=order.device) - starts[index]
    return Ranking(order, new_level.cumsum(0) - 1, index, position, index[new_level], len(starts))


class GroupedMetric(TaskMetric):
    """Metrics that need all rows of a group (a user) together.

    Each process keeps its rows (32 bytes each); when the value is asked for, every row is sent once to the process
    that owns its group, so that no process holds all rows and the value is exact.
    """

    name: ClassVar[str]
    rows: list[Tensor]
    groups: list[Tensor]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add_state("rows", [], dist_reduce_fx=None)
        self.add_state("groups", [], dist_reduce_fx=None)
        self.distributed_available_fn = no_sync

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` ranks the rows of a group, [B].

        Raises:
            MtlError: The batch has no groups.
        """
        if target.group is None:
            raise MtlError(
                f"metrics.{self.task.name}: {self.name} ranks within groups, and the data have none",
                "name the user column with data.group",
            )
        weight = row_weight(target)
        kept = weight > 0
        columns: Sequence[Tensor] = (prediction.detach(), target.label[:, 0], weight)
        self.rows.append(torch.stack([column[kept].to(torch.float64) for column in columns], 1))
        self.groups.append(target.group[kept])

    def owned(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores, labels, weights [n] float64 and groups [n] of the groups that this process owns. A collective."""
        rows = torch.cat([torch.zeros(0, 3, dtype=torch.float64, device=self.device), *self.rows])
        groups = torch.cat([torch.zeros(0, dtype=torch.int64, device=self.device), *self.groups])
        rows, groups = route(rows, groups)
        return rows[:, 0], rows[:, 1], rows[:, 2], groups
