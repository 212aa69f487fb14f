"""Join of a log with tables of users or items, in the log's order."""

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.errors import DataError


def replace_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with other values in one of its columns."""
    return table.set_column(table.column_names.index(name), name, values)


def join(log: pa.Table, side: pa.Table, key: str, prefix: str = "") -> pa.Table:
    """Append the other columns of ``side`` to a log; null for keys that ``side`` lacks.

    Args:
        log: The log; its rows keep their number and order.
        side: Table with a row per key.
        key: Name of the key in both.
        prefix: Prefix of the names of the added columns.

    Raises:
        DataError: If a key occurs twice in ``side``.

    Example:
        >>> log = pa.table({"u": [2, 1, 9]})
        >>> join(log, pa.table({"u": [1, 2], "age": [30, 40]}), "u")["age"].to_pylist()
        [40, 30, None]
    """
    keys = side[key].combine_chunks()
    if pc.count_distinct(keys, mode="all").as_py() < len(keys):
        repeated = next(entry["values"] for entry in pc.value_counts(keys).to_pylist() if entry["counts"] > 1)
        raise DataError(f"{key} {repeated!r} is in its table more than once")
    row = pc.index_in(log[key].cast(keys.type), value_set=keys)
    for name in side.column_names:
        if name != key:
            log = log.append_column(prefix + name, side[name].combine_chunks().take(row))
    return log
