"""Rows of a source as Arrow blocks of some columns and many rows."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import WRITTEN, require
from mtl_lightning.data.readers.parquet import ROWS, ParquetRows
from mtl_lightning.errors import DataError, MtlError

ROW = "__row__"
"""Name of the column with each row's number in its source, for messages."""
Item = TypeVar("Item")


def read_blocks(rows: Any, columns: Sequence[str], place: str, size: int | None = None) -> Iterator[pa.Table]:
    """Read a ``datasets.Dataset`` or ``IterableDataset`` in blocks, with the rows' numbers in the column :data:`ROW`.

    Args:
        rows: The rows.
        columns: Columns to read.
        place: Name of the rows in messages.
        size: Number of rows per block (default: :data:`ROWS`).

    Raises:
        DataError: If a column is missing or reading fails.
    """
    if ROW in columns:
        raise DataError(f"{place}: a column that is used can't be called {ROW!r}", "rename it")
    names = rows.arrow_schema.names if isinstance(rows, ParquetRows) else rows.column_names
    if names is not None:
        require(names, columns, place)
        columns = [*columns, *(WRITTEN + name for name in columns if WRITTEN + name in names)]
    start = 0
    try:
        for block in _read(rows, list(columns), size or ROWS, selects=names is not None):
            table = block if isinstance(block, pa.Table) else pa.table(block)
            require(table.column_names, columns, place)
            numbers = pa.array(np.arange(start, start + table.num_rows))
            start += table.num_rows
            yield table.select(list(columns)).append_column(ROW, numbers)
        pa.default_memory_pool().release_unused()  # otherwise memory freed by this pass is not reused by the next one
    except MtlError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        cause = error.__cause__ or error
        raise DataError(f"{place} can't be read after row {start}: {str(cause).splitlines()[0]}") from error


def _read(rows: Any, columns: list[str], size: int, *, selects: bool) -> Iterator[Any]:
    if isinstance(rows, ParquetRows):
        return rows.tables(columns)
    chosen = rows.select_columns(columns) if selects else rows
    batches: Iterator[Any] = chosen.with_format("arrow").iter(batch_size=size)
    return batches


def count_rows(rows: Any, columns: Sequence[str], place: str) -> int:
    """Count rows; a stream is read to its end.

    Args:
        rows: The rows.
        columns: Columns of the rows; a stream is read with the first one only.
        place: Name of the rows in messages.
    """
    if hasattr(rows, "num_rows"):
        return int(rows.num_rows)
    return sum(block.num_rows for block in read_blocks(rows, list(columns)[:1], place))


def rebatch(parts: Iterable[pa.Table], size: int | None = None) -> Iterator[pa.Table]:
    """Cut rows into blocks of exactly ``size`` (except the last), whatever the sizes of the parts.

    Sums over blocks then do not depend on the rows that were removed from between these.

    Example:
        >>> [part.num_rows for part in rebatch([pa.table({"x": [1, 2]}), pa.table({"x": [3, 4, 5]})], size=3)]
        [3, 2]
    """
    size = size or ROWS
    waiting: list[pa.Table] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += part.num_rows
        while count >= size:
            table = pa.concat_tables(waiting)
            yield table.slice(0, size)
            waiting, count = [table.slice(size)], count - size
    if count:
        yield pa.concat_tables(waiting)


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items; a thread computes the next item while the current one is in use.

    Example:
        >>> list(prefetch(iter("abc")))
        ['a', 'b', 'c']
    """
    end: Any = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = thread.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = thread.submit(next, items, end)
            yield item
