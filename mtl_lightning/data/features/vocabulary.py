"""Values → ids: counted block by block in bounded memory, looked up without a Python loop over rows."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.keys import SPELT, canonical_text, integers, text
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.schema import PADDING, UNKNOWN

FIRST = UNKNOWN + 1
COMPACT = 1_000_000
DIRECT = 1 << 21
"""Integer keys that span no more than this are found by their value in a table."""
TALLIED = 1 << 18
"""Integer keys that span no more than this are counted in one array over all blocks."""
SORTED_FROM = 200_000
"""From this size on other integer keys are found by bisection: Arrow hashes the whole vocabulary at each call."""


class Counter:
    """Counts keys over blocks; memory grows with the number of distinct keys only."""

    def __init__(self) -> None:
        self._parts: list[pa.Table] = []
        self._pending = 0
        self._compacted = 0
        self._text = False
        self._low = 0
        self._tally: np.ndarray = np.zeros(0, dtype=np.int64)

    def add(self, values: pa.Array) -> None:
        """Count the keys of one block; nulls don't count."""
        if is_text(values.type) or not self._tallied(values):
            self.add_counts(*_counted(values))

    def _tallied(self, values: pa.Array) -> bool:
        """Add integers to the tally, if those of all blocks span little."""
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
        found = np.bincount(values.drop_null().to_numpy() - self._low)
        self._tally[: len(found)] += found
        return True

    def add_counts(self, found: pa.Array, counts: pa.Array) -> None:
        """Add keys, none of them null, that were counted already."""
        if len(found) == 0:
            return
        if is_text(found.type) and not self._text:
            self._text = True
            self._parts = [part.set_column(0, "key", _each(part.column(0))) for part in self._parts]
        elif self._text:
            found = text(found)
        self._parts.append(pa.table({"key": found, "count": counts}))
        self._pending += len(found)
        if self._pending > COMPACT + 2 * self._compacted:
            self._parts = [self._merged()]
            self._pending, self._compacted = 0, self._parts[0].num_rows

    def _merged(self) -> pa.Table:
        merged = pa.concat_tables(self._parts).group_by("key").aggregate([("count", "sum")])
        return pa.table({"key": merged["key"], "count": merged["count_sum"]})

    def result(self) -> pa.Table:
        """Keys with their counts, the most frequent first, equal counts by key."""
        found = np.flatnonzero(self._tally)
        counts = self._tally[found]
        if not self._parts:
            order = np.argsort(-counts, kind="stable")
            return pa.table({"key": pa.array(found[order] + self._low), "count": pa.array(counts[order])})
        self._tally = self._tally[:0]
        self.add_counts(pa.array(found + self._low), pa.array(counts))
        return self._merged().sort_by([("count", "descending"), ("key", "ascending")])


def _span(values: pa.Array) -> tuple[int, int]:
    """Smallest integer and the number of integers from there to the largest; 0 if there is none."""
    ends = pc.min_max(values).as_py()
    return (0, 0) if ends["min"] is None else (ends["min"], ends["max"] - ends["min"] + 1)


def _counted(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Distinct keys of a block and how often each occurs."""
    if not is_text(values.type):
        low, span = _span(values)
        if span <= DIRECT:
            counts = np.bincount(values.drop_null().to_numpy() - low, minlength=1)
            found = np.flatnonzero(counts)
            return pa.array(found + low), pa.array(counts[found])
    counted = pc.value_counts(values.drop_null())
    return counted.field(0), counted.field(1)


def _each(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([text(chunk) for chunk in column.chunks], pa.string())


class Vocabulary:
    """Known keys in the order of their ids, which start at 2; 0 is missing, 1 out of vocabulary.

    Args:
        keys: Distinct keys, int64 or string.

    Example:
        >>> counter = Counter()
        >>> counter.add(pa.array(["b", "a", "b", None]))
        >>> vocabulary = Vocabulary.fit(counter)
        >>> vocabulary.size, vocabulary.ids(pa.array(["a", "b", "c", None])).tolist()
        (4, [3, 2, 1, 0])
    """

    def __init__(self, keys: pa.Array) -> None:
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
        """Keep keys that are frequent enough, the most frequent ones if they are too many.

        Args:
            counter: What was counted.
            min_count: A new key must occur this often.
            max_size: At most this many keys in all; known ones are never dropped.
            known: Keys that keep their ids, whether they were counted or not.
        """
        counts = counter.result()
        counts = counts.filter(pc.greater_equal(counts["count"], min_count))
        if known is None:
            return cls(counts["key"].slice(0, max_size).combine_chunks())
        old, found = known.keys, counts["key"].combine_chunks()
        if is_text(old.type) or is_text(found.type):
            old, found = text(old), text(found)
        new = found.filter(pc.invert(pc.is_in(found, value_set=old)))
        room = None if max_size is None else max(max_size - len(old), 0)
        return cls(pa.concat_arrays([old, new.slice(0, room)]))

    @property
    def size(self) -> int:
        """Number of ids, with those of missing and unknown values."""
        return len(self.keys) + FIRST

    def ids(self, values: pa.Array, *, distinct: bool = False) -> np.ndarray:
        """Ids of keys, int32; ``distinct`` says that no key comes twice, so that there is nothing to gain by a code."""
        if self._table is not None and not is_text(values.type):
            return self._direct(values)
        index = self._index(values, distinct)
        result = np.where(index < 0, UNKNOWN, index + FIRST).astype(np.int32)
        if values.null_count:
            result[values.is_null().to_numpy(zero_copy_only=False)] = PADDING
        return result

    def _direct(self, values: pa.Array) -> np.ndarray:
        """Ids of integer keys by their place in the table, int32."""
        assert self._table is not None
        numbers = values.fill_null(self._low).to_numpy() if values.null_count else values.to_numpy()
        # What is below wraps around and is far outside, too.
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
            found = coded.dictionary if is_text(self.keys.type) else integers(coded.dictionary)
            index = self._find(found)
            places = coded.indices.fill_null(0).to_numpy()
            return index[places] if len(index) else np.full(len(values), -1, dtype=np.int64)
        return self._find(text(values) if is_text(self.keys.type) else values)

    def _find(self, found: pa.Array) -> np.ndarray:
        if self._table is not None:
            return self._direct(found) - FIRST
        if len(self.keys) < SORTED_FROM or is_text(self.keys.type):
            index = pc.index_in(found, value_set=self.keys, skip_nulls=True)
            return np.asarray(index.fill_null(-1).to_numpy())
        if self._sorted is None or self._order is None:
            numbers = self.keys.to_numpy()
            self._order = np.argsort(numbers)
            self._sorted = numbers[self._order]
        wanted = found.fill_null(0).to_numpy()
        place = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        hit = (self._sorted[place] == wanted) & found.is_valid().to_numpy(zero_copy_only=False)
        return np.where(hit, self._order[place], -1)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers."""
        return {"text": is_text(self.keys.type), "keys": self.keys.to_pylist()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`."""
        found = list(state["keys"])
        known = set(found) if state["text"] else set()
        for old, key in SPELT.items():  # in their order, in every process: of a run that told spellings apart
            if key and old in known and key not in known:
                found[found.index(old)] = key
                known.add(key)
        if not state["text"]:
            return cls(pa.array(found, pa.int64()))
        written = pa.array(found, pa.string())
        usual = canonical_text(written)
        for place in np.flatnonzero(pc.not_equal(usual, written).fill_null(False).to_numpy(zero_copy_only=False)):
            if (key := usual[place].as_py()) and key not in known:
                found[place] = key
                known.add(key)
        return cls(pa.array(found, pa.string()))
