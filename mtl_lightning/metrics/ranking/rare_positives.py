"""Areas under the ROC curve of groups, without sorting those that have few positives: most, where events are rare.

A group's area is a count of pairs. Each row is compared with the positives of its group, one after the other: look-ups
in tables, where a sort moves every row some twenty times. Groups with more positives than pay are sorted. Rows are
looked at a chunk at a time, so that what is made of them stays in the processor's cache.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mtl_lightning.metrics.ranking.grouped_metric import Rows
from mtl_lightning.metrics.ranking.sort_keys import packed, plain_areas

Columns = tuple[Tensor, Tensor, Tensor]
"""Score, label and group of rows, [n] each."""
CHUNK = 1 << 16
"""Rows at a time."""
MOST = 8
"""Positives up to which the rows of a group may be compared."""
SORTING = 40
"""Sorting a row takes as long as comparing it with so many positives."""


def summed_areas(parts: Sequence[Rows], *, equal: bool) -> Tensor | None:
    """Sum over groups of area × share, and of the shares; None where a row doesn't fit, or sorting all is as fast.

    Rows fit where labels are 0 or 1, weights are 1, scores are numbers of 32 bits, and groups are numbered from 0, not
    many more than there are rows.

    Args:
        parts: The rows, in parts of any size.
        equal: Whether groups count alike, or each by its rows; those without both classes don't count.

    Example:
        >>> score, label = torch.tensor([0.2, 0.9, 0.9]), torch.tensor([0.0, 1.0, 0.0])
        >>> summed_areas([(score, label, torch.ones(3), torch.tensor([4, 4, 4]))], equal=False).tolist()
        [2.25, 3.0]
    """
    pieces = list(chunks(parts))
    groups = _groups(pieces)
    if groups is None or not all(_ones(weight) for _, _, weight, _ in parts):
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
    few = _few(positives, torch.where(counts, size, 0).to(torch.float64))
    if not few:
        return None
    # What a won pair is worth; negative in groups that are sorted.
    worth = torch.where(counts, torch.where(positives > few, -1.0, share / pairs), 0.0)
    won, rest = _compared(pieces, places, _tables(torch.cat(scores), owner, worth > 0, few), worth)
    if len(rest[0]):
        score, label, group = rest
        rows = torch.stack([score, label, torch.ones_like(score)], 1).to(torch.float64)
        keys = packed(rows, group)
        if keys is None:
            return None
        area, _, rows_of_group = plain_areas(keys)
        won += (area if equal else area * rows_of_group).sum()
    return torch.stack([won, share.sum()])


def chunks(parts: Sequence[Rows]) -> Iterator[Columns]:
    """The rows in their order in chunks that are neither small, but for the last, nor larger than twice ``CHUNK``."""
    waiting: list[Columns] = []
    count = 0
    for score, label, _, group in parts:
        for piece in zip(*(column.split(CHUNK) for column in (score, label, group)), strict=True):
            waiting.append(piece)
            count += len(piece[0])
            if 2 * count > CHUNK:
                yield _joined(waiting)
                waiting, count = [], 0
    if count:
        yield _joined(waiting)


def _joined(pieces: Sequence[Columns]) -> Columns:
    if len(pieces) == 1:
        return pieces[0]
    score, label, group = (torch.cat(column) for column in zip(*pieces, strict=True))
    return score, label, group


def _ones(weight: Tensor) -> bool:
    return bool(((weight[:1] if weight.stride() == (0,) else weight) == 1).all())


def _groups(pieces: Sequence[Columns]) -> int | None:
    """Number of groups, or None if a score or a group doesn't fit, or there is no row."""
    highest, count = -1, 0
    for score, _, group in pieces:
        low, high = (int(end) for end in torch.aminmax(group))
        if low < 0 or not bool((score.to(torch.float32) == score).all()):
            return None
        highest, count = max(highest, high), count + len(group)
    fits_in_32_bits = 0 < count < 1 << 31 and highest < max(1 << 16, 4 * count)
    return highest + 1 if fits_in_32_bits else None


def _few(positives: Tensor, rows: Tensor) -> int:
    """Number of positives up to which it pays to compare: what is compared is done so for all rows.

    Args:
        positives: Of each group, [G].
        rows: Of each group, [G] float64; 0 where the group doesn't count.
    """
    share = torch.bincount(positives.clamp_max(MOST + 1), weights=rows, minlength=MOST + 2)
    left = share.sum() - share[:-1].cumsum(0)
    cost = torch.arange(MOST + 1, device=left.device) * share.sum() + SORTING * left
    return int(cost.argmin())


def _tables(score: Tensor, owner: Tensor, used: Tensor, few: int) -> list[Tensor]:
    """Tables of one positive's score per group, [G] each; NaN where the group has no more of them.

    Args:
        score: Of the positives, [p].
        owner: Their groups, [p].
        used: Groups that are compared, [G].
        few: Number of tables.
    """
    tables = []
    kept = used.index_select(0, owner)
    score, owner = score[kept], owner[kept]
    for _ in range(few):
        number = torch.arange(len(owner), device=owner.device)
        chosen = owner.new_zeros(len(used))
        chosen[owner] = number  # whichever stays
        now = chosen.index_select(0, owner) == number
        table = score.new_full((len(used),), torch.nan)
        table[owner[now]] = score[now]
        tables.append(table)
        score, owner = score[~now], owner[~now]
    return tables


def _compared(
    pieces: Sequence[Columns], places: Sequence[Tensor], tables: Sequence[Tensor], worth: Tensor
) -> tuple[Tensor, Columns]:
    """Sum of the worth of all won pairs, tied ones won by one half; and score, label and group of rows to sort.

    Args:
        pieces: The rows.
        places: Positives of each piece.
        tables: From :func:`_tables`.
        worth: Of a pair of each group, [G]; negative where the group's rows are to be sorted.
    """
    # One table after the other for all rows, as one fits the cache.
    halves = [torch.zeros(len(group), dtype=torch.int8, device=group.device) for *_, group in pieces]
    for table in tables:
        for found, (score, _, group) in zip(halves, pieces, strict=True):
            narrow, other = score.to(torch.float32), table.index_select(0, group)
            found += (other > narrow).view(torch.int8)
            found += (other >= narrow).view(torch.int8)
    won = worth.new_zeros(())
    sorts = bool((worth < 0).any())
    rest: list[Columns] = []
    for found, where, (score, label, group) in zip(halves, places, pieces, strict=True):
        found.index_fill_(0, where, 0)  # a positive is no pair with another
        value = worth.index_select(0, group)
        won += value @ found.to(torch.float64) / 2
        if sorts:
            sort = (value < 0).nonzero()[:, 0]
            rest.append((score[sort].to(torch.float32), label[sort].to(torch.float32), group[sort]))
    empty = (worth.new_zeros(0, dtype=torch.float32),) * 2 + (worth.new_zeros(0, dtype=torch.int64),)
    score, label, group = (torch.cat(column) for column in zip(empty, *rest, strict=True))
    return won, (score, label, group)
