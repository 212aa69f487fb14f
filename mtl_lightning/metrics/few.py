"""Areas under the ROC curve of groups, without sorting those that have few positives: most, where events are rare.

A group's area is a count of pairs. With one to three positives in a group, each of its negatives is compared with them:
a look-up per row, where a sort moves every row some twenty times. Groups with more are sorted.
"""

import torch
from torch import Tensor

from mtl_lightning.metrics.packed import packed, plain_areas

FEW = 3
"""Positives up to which a group's negatives are compared one by one."""


def summed_areas(columns: tuple[Tensor, Tensor, Tensor], group: Tensor, *, equal: bool) -> Tensor | None:
    """Sum over groups of area × share, and of the shares; None where a row doesn't fit.

    Rows fit where labels are 0 or 1, weights are 1, scores are numbers of 32 bits, and groups are numbered from 0, not
    many more than there are rows.

    Args:
        columns: Score, label and weight of each row, [n] each.
        group: [n] int64.
        equal: Whether groups count alike, or each by its rows; those without both classes don't count.

    Example:
        >>> columns = (torch.tensor([0.2, 0.9, 0.9]), torch.tensor([0.0, 1.0, 0.0]), torch.ones(3))
        >>> summed_areas(columns, torch.tensor([4, 4, 4]), equal=False).tolist()
        [2.25, 3.0]
    """
    score, label, weight = columns
    narrow = score.to(torch.float32)
    fits = (weight == 1).all() & (label * label == label).all() & (narrow == score).all()
    if not len(group) or not bool(fits):
        return None
    low, high = (int(end) for end in torch.aminmax(group))
    if low < 0 or high >= max(1 << 16, 4 * len(group)):
        return None
    where = label.nonzero()[:, 0]
    owner = group[where]
    size, positives = torch.bincount(group, minlength=high + 1), torch.bincount(owner, minlength=high + 1)
    pairs = (positives * (size - positives)).to(torch.float64)
    share = torch.where(pairs > 0, torch.ones_like(pairs) if equal else size.to(torch.float64), 0.0)
    # Positives of a group up to one more than few; 0 where the group doesn't count.
    kind = torch.where(pairs > 0, positives.clamp_max(FEW + 1), 0).to(torch.int8)
    kind_of_row = kind.index_select(0, group)  # half the time of an index in brackets
    few = (kind_of_row > 0) & (kind_of_row <= FEW) & (label == 0)
    won = _compared(narrow, group, few, (narrow[where], owner, positives), kind, share / pairs)
    rest = (kind_of_row > FEW).nonzero()[:, 0]
    if len(rest):
        rows = torch.stack([narrow[rest], label[rest].to(torch.float32), torch.ones(len(rest), device=group.device)], 1)
        keys = packed(rows.to(torch.float64), group[rest])
        if keys is None:
            return None
        area, _, rows_of_group = plain_areas(keys)
        won += (area if equal else area * rows_of_group).sum()
    return torch.stack([won, share.sum()])


def _compared(
    score: Tensor,
    group: Tensor,
    few: Tensor,
    positive: tuple[Tensor, Tensor, Tensor],
    kind: Tensor,
    worth: Tensor,
) -> Tensor:
    """Sum of the worth of all won pairs of the rows ``few``; a tied pair is won by one half.

    Args:
        score: [n].
        group: [n].
        few: Negatives to compare, [n].
        positive: Scores and groups of the positives, and their number in each group.
        kind: Positives of each group, [G].
        worth: Of a pair of each group, [G].
    """
    rows = few.nonzero()[:, 0]
    score, group = score.index_select(0, rows), group.index_select(0, rows)
    value = worth.index_select(0, group)
    positive_score, owner, count = positive
    order = owner.argsort(stable=True)
    positive_score, owner = positive_score[order], owner[order]
    place = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner]
    won = value.new_zeros(())
    for turn in range(FEW):
        now = place == turn
        table = score.new_full((len(count),), torch.nan)
        table[owner[now]] = positive_score[now]
        other = table.index_select(0, group)
        halves = (other > score).to(torch.int8) + (other >= score)
        won += value @ halves.to(torch.float64) / 2
        left = (kind.index_select(0, group) > turn + 1).nonzero()[:, 0]
        score, group, value = (column.index_select(0, left) for column in (score, group, value))
    return won
