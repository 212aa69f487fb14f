"""Rows of a source as Arrow blocks: a few columns, many rows at a time, never one."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import WRITTEN, require
from mtl_lightning.data.readers.parquet import ParquetRows
from mtl_lightning.errors import DataError, MtlError

ROWS = 131_072
"""Rows of a block."""
ROW = "__row__"
"""Column with the number of each row in its source, for messages."""
Item = TypeVar("Item")


def blocks(rows: Any, columns: Sequence[str], place: str, size: int = ROWS) -> Iterator[pa.Table]:
    """Blocks of a ``datasets.Dataset`` or ``IterableDataset``, with the row's number as a further column.

    Args:
        rows: The rows.
        columns: Columns to read.
        place: What is read, for messages.
        size: Rows per block.

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
        for block in _read(rows, list(columns), size, selects=names is not None):
            table = block if isinstance(block, pa.Table) else pa.table(block)
            require(table.column_names, columns, place)
            numbers = pa.array(np.arange(start, start + table.num_rows))
            start += table.num_rows
            yield table.select(list(columns)).append_column(ROW, numbers)
        pa.default_memory_pool().release_unused()  # else what one pass has freed adds to what the next one takes
    except MtlError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        cause = error.__cause__ or error
        raise DataError(f"{place} can't be read after row {start}: {str(cause).splitlines()[0]}") from error


def _read(rows: Any, columns: list[str], size: int, *, selects: bool) -> Iterator[Any]:
    if isinstance(rows, ParquetRows):
        return rows.tables(columns)
    chosen = rows.select_columns(columns) if selects else rows
    found: Iterator[Any] = chosen.with_format("arrow").iter(batch_size=size)
    return found


def count_rows(rows: Any, columns: Sequence[str], place: str) -> int:
    """Number of rows; a stream is read through for it."""
    if hasattr(rows, "num_rows"):
        return int(rows.num_rows)
    return sum(block.num_rows for block in blocks(rows, list(columns)[:1], place))


def even(parts: Iterable[pa.Table], size: int = ROWS) -> Iterator[pa.Table]:
    """The same rows in blocks of exactly ``size`` (but for the last), whatever the parts' sizes.

    What is summed over blocks then does not depend on which other rows stood between these.
    """
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


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; while one is used, the next one is made in a thread of its own.

    Example:
        >>> list(ahead(iter("abc")))
        ['a', 'b', 'c']
    """
    end: Any = object()
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = thread.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = thread.submit(next, items, end)
            yield item
