"""Ids that come and go: admission by counts over runs, expiry, and eviction of the least frequent values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.arrow.keys import text
from mtl_lightning.data.arrow.times import instants
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.features.vocabulary import Vocabulary
from mtl_lightning.data.readers.blocks import ROW
from mtl_lightning.errors import DataError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Seconds in a unit of time."""
PERIOD = re.compile(r"([0-9]{1,9})([smhdw])")


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Conditions under which a value has an id.

    Args:
        admit: Number of occurrences, over all runs, from which on a value gets an id.
        expire: Time without an occurrence after which a value loses its id and its count; None for never.
        evict: Whether a value loses its id to a more frequent one once ``max_size`` values have one.
        time: Column with the time of a row, for ``expire``.
    """

    admit: int = 1
    expire: float | None = None
    evict: bool = False
    time: str | None = None

    @property
    def leaves(self) -> bool:
        """True if a value can lose its id."""
        return self.evict or self.expire is not None

    def moments(self, block: Block, place: str) -> tuple[np.ndarray, bool | None] | None:
        """Read the times of a block's rows.

        Args:
            block: Block of rows.
            place: Place of the feature, for messages.

        Returns:
            Seconds, or the numbers of the column, [N] float64, NaN where missing, and whether they are seconds, None if
            all are missing; None without a time column.
        """
        if self.time is None:
            return None
        start = block[ROW][0].as_py() if ROW in block.schema.names and block.num_rows else 0
        try:
            times = instants(block, self.time, start, place=place)
        except DataError as error:
            hint = (error.hint or "").partition(", or set ")[0]  # there is no option for a format
            raise DataError(error.message, hint) from error
        seconds = np.where(times.known, times.values / (times.per_second or 1), np.nan)
        return seconds, None if times.per_second is None else times.per_second > 0


def seconds_of(period: float | str) -> float | None:
    """Read a period; None if it is not one.

    Example:
        >>> seconds_of("30d"), seconds_of(7), seconds_of("soon")
        (2592000.0, 7.0, None)
    """
    if not isinstance(period, str):
        return float(period) if 0 < period < np.inf else None
    match = PERIOD.fullmatch(period)
    return float(match[1]) * SECONDS[match[2]] or None if match else None


@dataclass(frozen=True)
class Usage:
    """Occurrences of the values of a vocabulary, over all runs, and of values that wait for an id.

    Args:
        waiting: Values without an id, [W] int64 or string.
        counts: Number of occurrences of the vocabulary's values and of the waiting ones, [V + W] int64.
        seen: Latest time of each, [V + W] float64; empty if times are unknown.
        dated: Whether times are seconds since 1970; None if times are unknown.
    """

    waiting: pa.Array
    counts: np.ndarray
    seen: np.ndarray
    dated: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON."""
        lists = {"counts": self.counts.tolist(), "seen": self.seen.tolist()}
        return {"waiting": self.waiting.to_pylist(), **lists, "dated": self.dated}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], *, as_text: bool) -> Self:
        """Build the counts from what :meth:`to_dict` returned.

        Args:
            state: The plain containers.
            as_text: Whether the values are text.
        """
        waiting = pa.array(state["waiting"], pa.string() if as_text else pa.int64())
        seen = np.array(state["seen"], dtype=np.float64)
        return cls(waiting, np.array(state["counts"], dtype=np.int64), seen, state["dated"])


def turn_over(
    counted: pa.Table,
    lifetime: Lifetime,
    max_size: int | None = None,
    known: Vocabulary | None = None,
    earlier: Usage | None = None,
    dated: bool | None = None,
) -> tuple[Vocabulary, Usage]:
    """Decide which values have an id after a run.

    Counts of the run are added to earlier ones. Values whose latest time is more than ``expire`` before the latest time
    of any value lose their id and their count. Of the others, those that had an id keep it, and those with ``admit``
    occurrences get one. With ``evict``, only the ``max_size`` most frequent of them have an id; of equally frequent
    values the ones that had an id come first. Without it, new values get the places that are left. The rest waits.

    Args:
        counted: Columns ``key``, ``count`` and, with times, ``seen`` of the run's values.
        lifetime: The conditions.
        max_size: Largest number of values with an id.
        known: Values that had an id after the earlier run, if there was one.
        earlier: Their usage; None if the earlier run did not count: their counts are 0, and their latest time is the
            latest time of this run.
        dated: Whether times of this run are seconds; None if they are unknown.

    Returns:
        The vocabulary (earlier values in their order, then new ones, the most frequent first), and its usage.

    Raises:
        DataError: If the earlier run has numbers for times, and this one times, or the other way round.

    Example:
        >>> counted = pa.table({"key": ["a", "b"], "count": [2, 1]})
        >>> vocabulary, usage = turn_over(counted, Lifetime(admit=2))
        >>> vocabulary.keys.to_pylist(), usage.waiting.to_pylist()
        (['a'], ['b'])
        >>> tomorrow, _ = turn_over(pa.table({"key": ["b"], "count": [1]}), Lifetime(2), None, vocabulary, usage)
        >>> tomorrow.keys.to_pylist()
        ['a', 'b']
    """
    if earlier is not None and None not in (dated, earlier.dated) and dated != earlier.dated:
        words = ("times", "numbers") if dated else ("numbers", "times")
        raise DataError(f"the column {lifetime.time!r} holds {words[0]} where it held {words[1]}", "write one form")
    merged = _merge(counted, known, earlier)
    seen = merged["seen"].combine_chunks()
    latest = pc.max(seen)
    if latest.is_valid:
        merged = merged.set_column(merged.schema.get_field_index("seen"), "seen", pc.fill_null(seen, latest))
        if lifetime.expire is not None:
            merged = merged.filter(pc.greater_equal(merged["seen"], latest.as_py() - lifetime.expire))
    merged = merged.sort_by([("count", "descending"), ("place", "ascending"), ("key", "ascending")])
    place = merged["place"].fill_null(-1).to_numpy()
    counts = merged["count"].to_numpy()
    chosen = (place >= 0) | (counts >= lifetime.admit)
    if max_size is not None:  # with evict, of all by rank; otherwise, of new ones after those that stay
        ranked = chosen if lifetime.evict else chosen & (place < 0)
        room = max_size if lifetime.evict else max(max_size - int((place >= 0).sum()), 0)
        chosen &= ~ranked | (np.cumsum(ranked) <= room)
    stay, new = np.flatnonzero(chosen & (place >= 0)), np.flatnonzero(chosen & (place < 0))
    order = np.concatenate([stay[np.argsort(place[stay])], new, np.flatnonzero(~chosen)])
    keys = merged["key"].combine_chunks().take(pa.array(order))
    size = len(stay) + len(new)
    times = merged["seen"].to_numpy()[order] if latest.is_valid else np.zeros(0)
    if dated is None and earlier is not None:
        dated = earlier.dated
    return Vocabulary(keys.slice(0, size)), Usage(keys.slice(size), counts[order], times, dated)


def _merge(counted: pa.Table, known: Vocabulary | None, earlier: Usage | None) -> pa.Table:
    """Add the counts of a run to earlier ones: columns ``key``, ``count``, ``seen``, and ``place`` of earlier ids."""
    today = counted["key"].combine_chunks()
    parts = [today] if known is None else [known.keys, *([] if earlier is None else [earlier.waiting]), today]
    if any(is_text(part.type) for part in parts):
        parts = [text(part) for part in parts]
    keys = pa.concat_arrays(parts)
    before, own = len(keys) - len(today), 0 if known is None else len(known.keys)
    counts = np.zeros(before, np.int64) if earlier is None else earlier.counts
    seen = np.full(before, np.nan) if earlier is None or not len(earlier.seen) else earlier.seen
    times = counted["seen"].to_numpy() if "seen" in counted.column_names else np.full(len(today), np.nan)
    places = np.arange(len(keys))
    table = pa.table(
        {
            "key": keys,
            "count": np.concatenate([counts, counted["count"].to_numpy()]),
            "seen": pa.array(np.concatenate([seen, times]), from_pandas=True),
            "place": pa.array(places, mask=places >= own),
        }
    )
    grouped = table.group_by("key").aggregate([("count", "sum"), ("seen", "max"), ("place", "min")])
    return grouped.select(["key", "count_sum", "seen_max", "place_min"]).rename_columns(table.column_names)
