"""Rows of a source as Arrow blocks of some columns and many rows."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import datasets
import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import WRITTEN, require
from mtl_lightning.data.readers.parquet import ROWS, ParquetRows
from mtl_lightning.errors import DataError, MtlError

ROW = "__row__"
"""Name of the column with each row's number in its source, for messages."""
Item = TypeVar("Item")


class RowRange(NamedTuple):
    """Consecutive rows that can be read without the others.

    Args:
        start: Number of the first row.
        stop: The row after the last.
        group: Numbers of the parquet file and of its row group, if the rows are one.
    """

    start: int
    stop: int
    group: tuple[int, int] | None = None


def row_ranges(rows: Any) -> list[RowRange | None]:
    """Divide rows into ranges that can be read one by one; a stream is a single one, None.

    Example:
        >>> row_ranges(datasets.Dataset.from_dict({"x": range(200_000)}))
        [RowRange(start=0, stop=131072, group=None), RowRange(start=131072, stop=200000, group=None)]
    """
    if isinstance(rows, ParquetRows):
        groups = [((i, j), count) for i, file in enumerate(rows.footers.groups) for j, count in enumerate(file)]
        stops = np.cumsum([count for _, count in groups]).tolist()
        ranges = [RowRange(stop - count, stop, key) for (key, count), stop in zip(groups, stops, strict=True)]
        return [part for part in ranges if part.stop > part.start]
    if isinstance(rows, datasets.Dataset):
        return [RowRange(start, min(start + ROWS, len(rows))) for start in range(0, len(rows), ROWS)]
    return [None]


def read_blocks(
    rows: Any, columns: Sequence[str], place: str, size: int | None = None, only: RowRange | None = None
) -> Iterator[pa.Table]:
    """Read a ``datasets.Dataset`` or ``IterableDataset`` in blocks, with the rows' numbers in the column :data:`ROW`.

    Args:
        rows: The rows.
        columns: Columns to read.
        place: Name of the rows in messages.
        size: Number of rows per block (default: :data:`ROWS`).
        only: The range to read, one of :func:`row_ranges`; None for all rows.

    Raises:
        DataError: If a column is missing or reading fails.
    """
    if ROW in columns:
        raise DataError(f"{place}: a column that is used can't be called {ROW!r}", "rename it")
    names = rows.arrow_schema.names if isinstance(rows, ParquetRows) else rows.column_names
    if names is not None:
        require(names, columns, place)
        columns = [*columns, *(WRITTEN + name for name in columns if WRITTEN + name in names)]
    start = 0 if only is None else only.start
    try:
        for block in _read(rows, list(columns), size or ROWS, only, selects=names is not None):
            table = block if isinstance(block, pa.Table) else pa.table(block)
            require(table.column_names, columns, place)
            numbers = pa.array(np.arange(start, start + table.num_rows))
            start += table.num_rows
            yield table.select(list(columns)).append_column(ROW, numbers)
        if only is None:
            # Otherwise memory freed by this pass is not reused by the next one.
            pa.default_memory_pool().release_unused()
    except MtlError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        cause = error.__cause__ or error
        raise DataError(f"{place} can't be read after row {start}: {str(cause).splitlines()[0]}") from error


def _read(rows: Any, columns: list[str], size: int, only: RowRange | None, *, selects: bool) -> Iterator[Any]:
    if isinstance(rows, ParquetRows):
        return rows.tables(columns, None if only is None else only.group)
    chosen = rows.select_columns(columns) if selects else rows
    if only is not None:
        return iter([chosen.with_format("arrow")[only.start : only.stop]])
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
