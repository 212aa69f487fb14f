"""A log joined with tables of users or items, in the log's order."""

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.errors import DataError


def joined(log: pa.Table, side: pa.Table, key: str, prefix: str = "") -> pa.Table:
    """The log with the other columns of ``side``; null where ``side`` has no such key.

    Args:
        log: Rows, of which none is lost, doubled or moved.
        side: One row per key.
        key: Column that both have.
        prefix: Put before the names of the added columns.

    Raises:
        DataError: A key is twice in ``side``.

    Example:
        >>> log = pa.table({"u": [2, 1, 9]})
        >>> joined(log, pa.table({"u": [1, 2], "age": [30, 40]}), "u")["age"].to_pylist()
        [40, 30, None]
    """
    keys = side[key].combine_chunks()
    if pc.count_distinct(keys, mode="all").as_py() < len(keys):
        twice = next(one["values"] for one in pc.value_counts(keys).to_pylist() if one["counts"] > 1)
        raise DataError(f"{key} {twice!r} is in its table more than once")
    row = pc.index_in(log[key].cast(keys.type), value_set=keys)
    for name in side.column_names:
        if name != key:
            log = log.append_column(prefix + name, side[name].combine_chunks().take(row))
    return log
