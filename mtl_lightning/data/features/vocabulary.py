"""Vocabularies: keys are counted block by block and looked up without a Python loop over rows."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.keys import SPELT, canonical_text, integers, text
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.errors import DataError
from mtl_lightning.schema import PADDING, UNKNOWN

FIRST = UNKNOWN + 1
"""Id of a vocabulary's first key."""

LARGEST = 2**31 - 1 - FIRST
"""Largest number of keys, as ids are int32."""

COMPACT = 1_000_000
"""Number of keys of separate blocks from which on they are merged."""

DIRECT = 1 << 21
"""Largest span of integer keys that are looked up by value in a table."""

TALLIED = 1 << 18
"""Largest span of integer keys that are counted in one array over all blocks."""

SORTED_FROM = 200_000
"""Number of other integer keys from which on they are looked up by bisection: Arrow hashes all keys at each call."""


class Counter:
    """Counts of the keys of many blocks; memory grows only with the number of distinct keys.

    Example:
        >>> counter = Counter()
        >>> counter.add(pa.array(["b", "a", "b", None]))
        >>> counter.result().to_pydict()
        {'key': ['b', 'a'], 'count': [2, 1]}
    """

    def __init__(self) -> None:
        self._parts: list[pa.Table] = []
        self._pending = 0
        self._compacted = 0
        self._text = False
        self._low = 0
        self._tally: np.ndarray = np.zeros(0, dtype=np.int64)

    def add(self, values: pa.Array, times: np.ndarray | None = None) -> None:
        """Count the keys of a block.

        Args:
            values: Keys, [N] int64 or string; nulls don't count.
            times: Time of each, [N] float64, NaN where missing. Either all blocks have times or none has.
        """
        if times is not None:
            rows = pa.table({"key": values, "seen": pa.array(times, from_pandas=True)})
            rows = rows.filter(rows["key"].is_valid()).group_by("key").aggregate([("key", "count"), ("seen", "max")])
            self.add_counts(*(rows[name].combine_chunks() for name in ("key", "key_count", "seen_max")))
        elif is_text(values.type) or not self._tally_integers(values):
            self.add_counts(*_count(values))

    def _tally_integers(self, values: pa.Array) -> bool:
        """Add integers to the tally and return True, if the integers of all blocks span little."""
        low, span = _span(values)
        if span == 0:
            return True
        start, end = low, low + span
        if len(self._tally):
            start, end = min(start, self._low), max(end, self._low + len(self._tally))
        if end - start > TALLIED:
            return False
        if end - start > len(self._tally):
            wider = np.zeros(end - start, dtype=np.int64)
            wider[self._low - start :][: len(self._tally)] = self._tally
            self._low, self._tally = start, wider
        counts = np.bincount(values.drop_null().to_numpy() - self._low)
        self._tally[: len(counts)] += counts
        return True

    def add_counts(self, keys: pa.Array, counts: pa.Array, seen: pa.Array | None = None) -> None:
        """Add keys with their counts.

        Args:
            keys: Distinct keys without nulls, [K] int64 or string.
            counts: Number of occurrences of each, [K] int64.
            seen: Latest time of each, [K] float64.
        """
        if len(keys) == 0:
            return
        if is_text(keys.type) and not self._text:
            self._text = True
            self._parts = [part.set_column(0, "key", _chunks_as_text(part.column(0))) for part in self._parts]
        elif self._text:
            keys = text(keys)
        self._parts.append(pa.table({"key": keys, "count": counts} | ({} if seen is None else {"seen": seen})))
        self._pending += len(keys)
        if self._pending > COMPACT + 2 * self._compacted:
            self._parts = [self._merged()]
            self._pending, self._compacted = 0, self._parts[0].num_rows

    def _merged(self) -> pa.Table:
        joined = pa.concat_tables(self._parts)
        functions = [(name, {"count": "sum", "seen": "max"}[name]) for name in joined.column_names[1:]]
        merged = joined.group_by("key").aggregate(functions)
        columns = {name: merged[f"{name}_{function}"] for name, function in functions}
        return pa.table({"key": merged["key"], **columns})

    def record(self) -> None:
        """Forget all counts."""
        self.__init__()  # type: ignore[misc]

    def partial(self) -> tuple[pa.Array, ...]:
        """Return the keys, their counts and, if they have any, their latest times."""
        return tuple(column.combine_chunks() for column in self.result().columns)

    def merge(self, partial: tuple[pa.Array, ...]) -> None:
        """Add the counts of other blocks; their order does not matter."""
        self.add_counts(*partial)

    def result(self) -> pa.Table:
        """Return a table of ``key``, ``count`` and, with times, ``seen``; the most frequent first, then by key."""
        tallied = np.flatnonzero(self._tally)
        counts = self._tally[tallied]
        if not self._parts:
            order = np.argsort(-counts, kind="stable")
            return pa.table({"key": pa.array(tallied[order] + self._low), "count": pa.array(counts[order])})
        self._tally = self._tally[:0]
        self.add_counts(pa.array(tallied + self._low), pa.array(counts))
        return self._merged().sort_by([("count", "descending"), ("key", "ascending")])


def _span(values: pa.Array) -> tuple[int, int]:
    """Return the smallest integer and the number of integers from it to the largest; 0 and 0 if there are none."""
    ends = pc.min_max(values).as_py()
    return (0, 0) if ends["min"] is None else (ends["min"], ends["max"] - ends["min"] + 1)


def _count(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the distinct keys of a block and their counts."""
    if not is_text(values.type):
        low, span = _span(values)
        if span <= DIRECT:
            counts = np.bincount(values.drop_null().to_numpy() - low, minlength=1)
            offsets = np.flatnonzero(counts)
            return pa.array(offsets + low), pa.array(counts[offsets])
    counted = pc.value_counts(values.drop_null())
    return counted.field(0), counted.field(1)


def _chunks_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([text(chunk) for chunk in column.chunks], pa.string())


class Vocabulary:
    """Keys in the order of their ids, which start at 2; id 0 is a missing value, id 1 an unknown key.

    Args:
        keys: Distinct keys, [K] int64 or string.

    Raises:
        DataError: If there are more than :data:`LARGEST` keys.

    Example:
        >>> counter = Counter()
        >>> counter.add(pa.array(["b", "a", "b", None]))
        >>> vocabulary = Vocabulary.fit(counter)
        >>> vocabulary.size, vocabulary.ids(pa.array(["a", "b", "c", None])).tolist()
        (4, [3, 2, 1, 0])
    """

    def __init__(self, keys: pa.Array) -> None:
        if len(keys) > LARGEST:
            raise DataError(f"{len(keys)} distinct values, but ids end at {LARGEST}", "set max_size, or kind: hashed")
        self.keys = keys
        self._low, span = (0, 0) if is_text(keys.type) else _span(keys)
        self._table: np.ndarray | None = None
        if 0 < span <= DIRECT:
            self._table = np.full(span, UNKNOWN, dtype=np.int32)
            self._table[keys.to_numpy() - self._low] = np.arange(FIRST, len(keys) + FIRST, dtype=np.int32)
        self._order: np.ndarray | None = None
        self._sorted: np.ndarray | None = None

    @classmethod
    def fit(
        cls, counter: Counter, min_count: int = 1, max_size: int | None = None, known: "Vocabulary | None" = None
    ) -> Self:
        """Make a vocabulary of the keys that are frequent enough.

        Args:
            counter: Counts of the keys.
            min_count: Smallest count of a new key.
            max_size: Largest number of keys, which keeps the most frequent ones; known keys are never dropped.
            known: Keys that keep their ids, whether they were counted or not.
        """
        counts = counter.result()
        counts = counts.filter(pc.greater_equal(counts["count"], min_count))
        if known is None:
            return cls(counts["key"].slice(0, max_size).combine_chunks())
        old, counted = known.keys, counts["key"].combine_chunks()
        if is_text(old.type) or is_text(counted.type):
            old, counted = text(old), text(counted)
        new = counted.filter(pc.invert(pc.is_in(counted, value_set=old)))
        most = None if max_size is None else max(max_size - len(old), 0)
        return cls(pa.concat_arrays([old, new.slice(0, most)]))

    @property
    def size(self) -> int:
        """Number of ids, including the ids of missing values and unknown keys."""
        return len(self.keys) + FIRST

    def ids(self, values: pa.Array, *, distinct: bool = False) -> np.ndarray:
        """Return the ids of keys, [N] int32.

        Args:
            values: Keys, [N] int64 or string; null is missing.
            distinct: Whether no key occurs twice. Otherwise text is encoded as a dictionary first, which is faster.
        """
        if self._table is not None and not is_text(values.type):
            return self._direct(values)
        index = self._index(values, distinct)
        result = np.where(index < 0, UNKNOWN, index + FIRST).astype(np.int32)
        if values.null_count:
            result[values.is_null().to_numpy(zero_copy_only=False)] = PADDING
        return result

    def _direct(self, values: pa.Array) -> np.ndarray:
        """Return the ids of integer keys by their place in the table, [N] int32."""
        assert self._table is not None
        numbers = values.fill_null(self._low).to_numpy() if values.null_count else values.to_numpy()
        # As unsigned integers, numbers below the table wrap around and are outside as well.
        place = numbers - self._low
        result: np.ndarray = self._table.take(place, mode="clip")
        outside = place.view(np.uint64) >= len(self._table)
        if outside.any():
            result[outside] = UNKNOWN
        if values.null_count:
            result[values.is_null().to_numpy(zero_copy_only=False)] = PADDING
        return result

    def _index(self, values: pa.Array, distinct: bool) -> np.ndarray:
        if len(self.keys) == 0:
            return np.full(len(values), -1, dtype=np.int64)
        if distinct and is_text(values.type):
            return self._find(values if is_text(self.keys.type) else integers(values))
        if is_text(values.type):
            coded = pc.dictionary_encode(values)
            index = self._find(coded.dictionary if is_text(self.keys.type) else integers(coded.dictionary))
            places = coded.indices.fill_null(0).to_numpy()
            return index[places] if len(index) else np.full(len(values), -1, dtype=np.int64)
        return self._find(text(values) if is_text(self.keys.type) else values)

    def _find(self, values: pa.Array) -> np.ndarray:
        if self._table is not None:
            return self._direct(values) - FIRST
        if len(self.keys) < SORTED_FROM or is_text(self.keys.type):
            index = pc.index_in(values, value_set=self.keys, skip_nulls=True)
            return np.asarray(index.fill_null(-1).to_numpy())
        if self._sorted is None or self._order is None:
            numbers = self.keys.to_numpy()
            self._order = np.argsort(numbers)
            self._sorted = numbers[self._order]
        searched = values.fill_null(0).to_numpy()
        place = np.minimum(np.searchsorted(self._sorted, searched), len(self._sorted) - 1)
        hit = (self._sorted[place] == searched) & values.is_valid().to_numpy(zero_copy_only=False)
        return np.where(hit, self._order[place], -1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON."""
        return {"text": is_text(self.keys.type), "keys": self.keys.to_pylist()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build a vocabulary from what :meth:`to_dict` returned.

        Vocabularies of earlier versions may hold several spellings of a key; the first one takes today's spelling.
        """
        keys = list(state["keys"])
        known = set(keys) if state["text"] else set()
        for old, key in SPELT.items():  # in the order of SPELT, so that every process does the same
            if key and old in known and key not in known:
                keys[keys.index(old)] = key
                known.add(key)
        if not state["text"]:
            return cls(pa.array(keys, pa.int64()))
        written = pa.array(keys, pa.string())
        usual = canonical_text(written)
        for place in np.flatnonzero(pc.not_equal(usual, written).fill_null(False).to_numpy(zero_copy_only=False)):
            if (key := usual[place].as_py()) and key not in known:
                keys[place] = key
                known.add(key)
        return cls(pa.array(keys, pa.string()))
