"""Area under the ROC curve of groups with few positives, without sorting: the common case for rare events.

The area of a group is a count of pairs. Each row is compared with the positives of its group, one positive at a time,
by table look-up; a sort would move every row about twenty times. Groups with many positives are sorted instead. Rows
are processed in chunks, so that intermediate columns stay in the processor's cache.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mtl_lightning.metrics.ranking.group_areas import areas_by_group
from mtl_lightning.metrics.ranking.grouped_metric import Rows

Columns = tuple[Tensor, Tensor, Tensor]
"""Score, label and group of rows, [n] each."""
CHUNK = 1 << 16
"""Rows at a time."""
MOST_POSITIVES = 8
"""Largest number of positives of a group whose rows are compared."""
SORTING_COST = 40
"""Cost of sorting a row, in comparisons of a row with one positive."""


def sum_areas(parts: Sequence[Rows], *, equal: bool) -> Tensor | None:
    """Sum over groups of area × share, and sum of the shares, [2].

    Rows fit if labels are 0 or 1, weights are 1, scores are representable in float32, and group numbers start at 0 and
    are not much larger than the number of rows.

    Args:
        parts: The rows, in parts of any size.
        equal: Whether all groups have the same share; otherwise the share is the number of rows. Groups without both
            classes do not count.

    Returns:
        The two sums, or None if a row does not fit, or if sorting all rows is as fast.

    Example:
        >>> score, label = torch.tensor([0.2, 0.9, 0.9]), torch.tensor([0.0, 1.0, 0.0])
        >>> sum_areas([(score, label, torch.ones(3), torch.tensor([4, 4, 4]))], equal=False).tolist()
        [2.25, 3.0]
    """
    pieces = list(chunks(parts))
    groups = _count_groups(pieces)
    if groups is None or not all(_all_ones(weight) for _, _, weight, _ in parts):
        return None
    size = torch.zeros(groups, dtype=torch.int32, device=pieces[0][2].device)
    ones = size.new_ones(2 * CHUNK)
    places, scores, owners = [], [], []
    for score, label, group in pieces:
        size.scatter_add_(0, group, ones[: len(group)])
        where = (label != 0).nonzero()[:, 0]
        if not bool((label.index_select(0, where) == 1).all()):
            return None
        places.append(where)
        scores.append(score.index_select(0, where).to(torch.float32))
        owners.append(group.index_select(0, where))
    owner = torch.cat(owners)
    positives = torch.bincount(owner, minlength=groups)
    pairs = (positives * (size - positives)).to(torch.float64)
    counts = pairs > 0
    share = torch.where(counts, torch.ones_like(pairs) if equal else size.to(torch.float64), 0.0)
    limit = _choose_limit(positives, torch.where(counts, size, 0).to(torch.float64))
    if not limit:
        return None
    # Contribution of a won pair; negative in groups that are sorted.
    worth = torch.where(counts, torch.where(positives > limit, -1.0, share / pairs), 0.0)
    won, to_sort = _compare(pieces, places, _make_tables(torch.cat(scores), owner, worth > 0, limit), worth)
    if len(to_sort[0]):
        score, label, group = to_sort
        rows = torch.stack([score, label, torch.ones_like(score)], 1).to(torch.float64)
        area, _, rows_of_group = areas_by_group(rows, group)
        won += (area if equal else area * rows_of_group).sum()
    return torch.stack([won, share.sum()])


def chunks(parts: Sequence[Rows]) -> Iterator[Columns]:
    """Yield the rows in order, in chunks of at most twice ``CHUNK``; all but the last exceed half of ``CHUNK``."""
    waiting: list[Columns] = []
    count = 0
    for score, label, _, group in parts:
        for piece in zip(*(column.split(CHUNK) for column in (score, label, group)), strict=True):
            waiting.append(piece)
            count += len(piece[0])
            if 2 * count > CHUNK:
                yield _join(waiting)
                waiting, count = [], 0
    if count:
        yield _join(waiting)


def _join(pieces: Sequence[Columns]) -> Columns:
    if len(pieces) == 1:
        return pieces[0]
    score, label, group = (torch.cat(column) for column in zip(*pieces, strict=True))
    return score, label, group


def _all_ones(weight: Tensor) -> bool:
    return bool(((weight[:1] if weight.stride() == (0,) else weight) == 1).all())


def _count_groups(pieces: Sequence[Columns]) -> int | None:
    """Number of groups; None if a score or a group does not fit, or if there is no row."""
    highest, count = -1, 0
    for score, _, group in pieces:
        low, high = (int(end) for end in torch.aminmax(group))
        if low < 0 or not bool((score.to(torch.float32) == score).all()):
            return None
        highest, count = max(highest, high), count + len(group)
    fits_in_32_bits = 0 < count < 1 << 31 and highest < max(1 << 16, 4 * count)
    return highest + 1 if fits_in_32_bits else None


def _choose_limit(positives: Tensor, rows: Tensor) -> int:
    """Number of positives up to which comparing is cheaper than sorting. Every comparison is made for all rows.

    Args:
        positives: Positives of each group, [G].
        rows: Rows of each group, [G] float64; 0 where the group does not count.
    """
    rows_by_positives = torch.bincount(
        positives.clamp_max(MOST_POSITIVES + 1), weights=rows, minlength=MOST_POSITIVES + 2
    )
    total = rows_by_positives.sum()
    sorted_rows = total - rows_by_positives[:-1].cumsum(0)
    cost = torch.arange(MOST_POSITIVES + 1, device=rows.device) * total + SORTING_COST * sorted_rows
    return int(cost.argmin())


def _make_tables(score: Tensor, owner: Tensor, used: Tensor, limit: int) -> list[Tensor]:
    """Tables with the score of one positive per group, [G] each; NaN where the group has no further positive.

    Args:
        score: Scores of the positives, [p].
        owner: Groups of the positives, [p].
        used: True for groups that are compared, [G].
        limit: Number of tables.
    """
    tables = []
    is_used = used.index_select(0, owner)
    score, owner = score[is_used], owner[is_used]
    for _ in range(limit):
        number = torch.arange(len(owner), device=owner.device)
        chosen = owner.new_zeros(len(used))
        chosen[owner] = number  # any one positive of the group
        now = chosen.index_select(0, owner) == number
        table = score.new_full((len(used),), torch.nan)
        table[owner[now]] = score[now]
        tables.append(table)
        score, owner = score[~now], owner[~now]
    return tables


def _compare(
    pieces: Sequence[Columns], places: Sequence[Tensor], tables: Sequence[Tensor], worth: Tensor
) -> tuple[Tensor, Columns]:
    """Sum of the worth of all won pairs, ties counting one half; and score, label and group of the rows to sort.

    Args:
        pieces: The rows.
        places: Indices of the positives of each piece.
        tables: From :func:`_make_tables`.
        worth: Worth of a pair of each group, [G]; negative where the group's rows are to be sorted.
    """
    # The outer loop is over tables, because one table fits the cache.
    halves_won = [torch.zeros(len(group), dtype=torch.int8, device=group.device) for *_, group in pieces]
    for table in tables:
        for halves, (score, _, group) in zip(halves_won, pieces, strict=True):
            narrow, other = score.to(torch.float32), table.index_select(0, group)
            halves += (other > narrow).view(torch.int8)
            halves += (other >= narrow).view(torch.int8)
    won = worth.new_zeros(())
    any_sorted = bool((worth < 0).any())
    rest: list[Columns] = []
    for halves, where, (score, label, group) in zip(halves_won, places, pieces, strict=True):
        halves.index_fill_(0, where, 0)  # two positives do not form a pair
        value = worth.index_select(0, group)
        won += value @ halves.to(torch.float64) / 2
        if any_sorted:
            to_sort = (value < 0).nonzero()[:, 0]
            columns = score[to_sort].to(torch.float32), label[to_sort].to(torch.float32), group[to_sort]
            rest.append(columns)
    empty = (worth.new_zeros(0, dtype=torch.float32),) * 2 + (worth.new_zeros(0, dtype=torch.int64),)
    score, label, group = (torch.cat(column) for column in zip(empty, *rest, strict=True))
    return won, (score, label, group)
