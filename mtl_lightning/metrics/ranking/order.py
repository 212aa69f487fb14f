"""Order of rows within groups, all groups at once."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class Ranking:
    """Rows sorted by group, then by a column; equal values within a group form a level.

    Args:
        rows: The sorted rows, [n, c].
        level: Level of each row, [n], from 0, increasing.
        position: Place of each row in its group, [n], from 0.
        level_group: Group of each level, [L], from 0, increasing.
        groups: Number of groups G.
    """

    rows: Tensor
    level: Tensor
    position: Tensor
    level_group: Tensor
    groups: int

    def per_level(self, values: Tensor) -> Tensor:
        """Sum per level [L] of values of the sorted rows [n]."""
        return values.new_zeros(len(self.level_group)).scatter_add_(0, self.level, values)

    def per_group(self, values: Tensor) -> Tensor:
        """Sum per group [G] of values per level [L]."""
        return values.new_zeros(self.groups).scatter_add_(0, self.level_group, values)


def sortable(score: Tensor) -> Tensor:
    """Integers in the order of ``score`` [n], NaN last. Integers are radix-sorted, which is three times as fast."""
    bits = (score.to(torch.float64) + 0.0).view(torch.int64)  # + 0.0 turns -0.0 into 0.0
    return bits ^ ((bits >> 63) & torch.iinfo(torch.int64).max)


def rank(rows: Tensor, group: Tensor, *, by: int = 0, descending: bool = False) -> Ranking:
    """Rank rows within groups.

    Args:
        rows: [n, c].
        group: [n] int64, any values.
        by: Index of the column to sort by.
        descending: Whether the largest value comes first.

    Example:
        >>> ranking = rank(torch.tensor([[0.2], [0.9], [0.2], [0.1]]), torch.tensor([5, 5, 5, 3]))
        >>> ranking.rows[:, 0].tolist(), ranking.level.tolist(), ranking.position.tolist()
        ([0.1..., 0.2..., 0.2..., 0.8...], [0, 1, 1, 2], [0, 0, 1, 2])
    """
    # Each sort moves whole rows, because random access to large columns costs more than it saves.
    order = torch.argsort(sortable(-rows[:, by] if descending else rows[:, by]), stable=True)
    group, order_of_group = torch.sort(group.index_select(0, order), stable=True)
    rows = rows.index_select(0, order).index_select(0, order_of_group)
    score = rows[:, by].contiguous()
    new_group = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    new_group[1:] = group[1:] != group[:-1]
    new_level = new_group.clone()
    new_level[1:] |= score[1:] != score[:-1]
    index = new_group.cumsum(0) - 1
    starts = new_group.nonzero()[:, 0]
    position = torch.arange(len(rows), device=rows.device) - starts[index]
    return Ranking(rows, new_level.cumsum(0) - 1, position, index[new_level], len(starts))
