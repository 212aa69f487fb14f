"""Boundaries of a split by time."""

import logging
from collections.abc import Mapping

import numpy as np

from mtl_lightning.errors import DataError

LOG = logging.getLogger(__name__)


def boundaries(times: np.ndarray, rows: Mapping[str, int], column: str) -> dict[str, int | float]:
    """Return the first time of each split after the training split.

    A time is in one split as a whole: in the later one, if a boundary divides its rows. If that leaves a split empty,
    boundaries move so that each split has at least one time.

    Args:
        times: Times of all rows, [N], in any order; they are partly sorted in place.
        rows: Number of rows of each later split, from the earliest to the latest; splits without rows are ignored.
        column: Name of the column, for messages.

    Raises:
        DataError: If there are fewer distinct times than splits.

    Example:
        >>> boundaries(np.repeat([1, 2, 3, 4, 5], 60), {"validation": 30, "test": 30}, "day")
        {'validation': 4, 'test': 5}
    """
    counts = {split: count for split, count in rows.items() if count}
    if not counts:
        return {}
    after = np.cumsum(list(counts.values())[::-1])[::-1]
    places = [len(times) - int(count) for count in after]
    times.partition(places)
    firsts = [times[place] for place in places]
    if firsts[0] == times[: places[0] + 1].min() or len(set(firsts)) < len(firsts):
        firsts = _separate(np.unique(times), firsts, list(counts), column)
    return {split: first.item() for split, first in zip(counts, firsts, strict=True)}


def _separate(distinct: np.ndarray, firsts: list[np.generic], later: list[str], column: str) -> list[np.generic]:
    """Return distinct times as near to ``firsts`` as possible, later than the earliest time."""
    splits = ["train", *later]
    count = f"{len(distinct):,} distinct time{'s' * (len(distinct) != 1)}"
    if len(distinct) < len(splits):
        needs = f"{', '.join(splits[:-1])} and {splits[-1]} need {len(splits)}"
        without = " and ".join(f"split.{split}=0" for split in later) if len(distinct) < 2 else "split.validation=0"
        hint = f"split by random or user, or set {without}"
        raise DataError(f"split: the time column {column!r} has {count}, and {needs}", hint)
    places = np.searchsorted(distinct, np.array(firsts))
    last = len(distinct)
    for i in reversed(
        range(len(places))
    ):  # from the latest split on: each leaves enough times for the splits before it
        last = places[i] = min(max(places[i], i + 1), last - 1)
    LOG.warning("split: the time column %r has %s: boundaries moved so that no split is empty", column, count)
    return list(distinct[places])
