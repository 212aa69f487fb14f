"""Boundaries of a split by time."""

import logging
from collections.abc import Mapping

import numpy as np

from mtl_lightning.errors import DataError

LOG = logging.getLogger(__name__)


def boundaries(times: np.ndarray, rows: Mapping[str, int], column: str) -> dict[str, int | float]:
    """The first time of each later part.

    The time at which a part should begin by its number of rows goes to it as a whole. Where that leaves a part empty,
    boundaries move to the next time, so that each part has one at least.

    Args:
        times: Times of all rows, in any order; they are partly ordered in place.
        rows: Number of rows of each later part, from the earliest to the latest; those without rows are left out.
        column: The column, for the error.

    Raises:
        DataError: If there are fewer distinct times than parts.

    Example:
        >>> boundaries(np.repeat([1, 2, 3, 4, 5], 60), {"validation": 30, "test": 30}, "day")
        {'validation': 4, 'test': 5}
    """
    wanted = {part: count for part, count in rows.items() if count}
    if not wanted:
        return {}
    after = np.cumsum(list(wanted.values())[::-1])[::-1]
    places = [len(times) - int(count) for count in after]
    times.partition(places)
    firsts = [times[place] for place in places]
    if firsts[0] == times[: places[0] + 1].min() or len(set(firsts)) < len(firsts):
        firsts = _apart(np.unique(times), firsts, wanted, column)
    return {part: first.item() for part, first in zip(wanted, firsts, strict=True)}


def _apart(distinct: np.ndarray, firsts: list[np.generic], wanted: Mapping[str, int], column: str) -> list[np.generic]:
    """Different times, none of which is the earliest, as near to ``firsts`` as can be."""
    parts = ["train", *wanted]
    count = f"{len(distinct):,} distinct time{'s' * (len(distinct) != 1)}"
    if len(distinct) < len(parts):
        needs = f"{', '.join(parts[:-1])} and {parts[-1]} need {len(parts)}"
        without = " and ".join(f"split.{part}=0" for part in wanted) if len(distinct) < 2 else "split.validation=0"
        hint = f"split by random or user, or set {without}"
        raise DataError(f"split: the time column {column!r} has {count}, and {needs}", hint)
    places = np.searchsorted(distinct, np.array(firsts))
    last = len(distinct)
    for i in reversed(range(len(places))):  # from the latest on: each leaves enough times to the parts before it
        last = places[i] = min(max(places[i], i + 1), last - 1)
    LOG.warning("split: the time column %r has %s: boundaries moved so that no split is empty", column, count)
    return list(distinct[places])
