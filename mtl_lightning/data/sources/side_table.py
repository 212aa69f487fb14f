"""Table of users, items or shared features to which a log refers by a key; memory-mapped."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.cache.arrow_tables import cache_files
from mtl_lightning.errors import DataError


class SideTable:
    """Memory-mapped table with lookup by key; memory grows with the number of keys, not with the width of rows.

    Args:
        name: Path below the cache directory; must change when the rows change.
        schema: Schema of the rows, including the key.
        key: Name of the key, a column of integers or text.
        batches: Function that yields the rows in blocks; called only if they are not in the cache.
        what: Name of the file, for messages.

    Raises:
        DataError: If a key occurs more than once.
    """

    def __init__(
        self, name: str, schema: pa.Schema, key: str, batches: Callable[[], Iterable[pa.RecordBatch]], what: str
    ) -> None:
        self.schema, self.key = schema, key
        self._batches: list[pa.RecordBatch] = []
        for path in cache_files(name, schema, batches):
            with pa.ipc.open_stream(pa.memory_map(str(path))) as reader:
                self._batches += list(reader)
        self._ends = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        keys = pa.chunked_array([batch[key] for batch in self._batches], schema.field(key).type).combine_chunks()
        repeated = len(keys) - pc.count_distinct(keys, mode="all").as_py()
        if repeated:
            raise DataError(f"{what}: {repeated} rows repeat the {key} of another row")
        self._integers = pa.types.is_integer(keys.type)
        if self._integers:
            values = keys.to_numpy(zero_copy_only=False)
            self._order = np.argsort(values, kind="stable")
            self._sorted = values[self._order]
        else:
            self._keys = keys

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, keys: pa.Array | pa.ChunkedArray) -> pa.Table:
        """Look up rows by key, in the keys' order.

        Args:
            keys: Keys, [N].

        Returns:
            The rows without the key, [N]; null for unknown keys.
        """
        row = self._rows(keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys)
        names = [name for name in self.schema.names if name != self.key]
        known = np.flatnonzero(row >= 0)
        known = known[np.argsort(row[known], kind="stable")]
        chunk = np.searchsorted(self._ends, row[known], side="right") - 1
        edges = np.searchsorted(chunk, np.arange(len(self._batches) + 1))
        parts = []
        for number, (first, last) in enumerate(pairwise(edges)):
            if first < last:
                local = pa.array(row[known[first:last]] - self._ends[number])
                parts.append(pa.Table.from_batches([self._batches[number]]).select(names).take(local))
        schema = pa.schema([self.schema.field(name) for name in names])
        rows = pa.concat_tables(parts) if parts else schema.empty_table()
        place = np.full(len(row), -1)
        place[known] = np.arange(len(known))
        return rows.combine_chunks().take(pa.array(place, mask=place < 0))

    def _rows(self, keys: pa.Array) -> np.ndarray:
        """Row of each key, [N]; -1 for unknown keys."""
        if not self._integers:
            places = pc.index_in(keys.cast(self._keys.type), value_set=self._keys)
            rows: np.ndarray = pc.fill_null(places, -1).to_numpy(zero_copy_only=False)
            return rows
        values = pc.fill_null(keys, 0).to_numpy(zero_copy_only=False)
        if not len(self._sorted):
            return np.full(len(values), -1)
        place = np.minimum(np.searchsorted(self._sorted, values), len(self._sorted) - 1)
        hit = (self._sorted[place] == values) & keys.is_valid().to_numpy(zero_copy_only=False)
        return np.where(hit, self._order[place], -1)
