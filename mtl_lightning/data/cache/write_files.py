"""Writing of record batches to files, with one batch in memory at a time."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from mtl_lightning.data.cache.directory import writing


class BatchWriter(Protocol):
    """Protocol of the writers of Parquet and Arrow files."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""

    def close(self) -> None:
        """Finish the file."""


@contextmanager
def opened(path: Path, open_file: Callable[[Path], BatchWriter]) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Context manager with a function that appends batches to a file.

    Args:
        path: The file.
        open_file: Function that opens a writer.

    Raises:
        DataError: If the file can't be written; errors of the code within the context pass unchanged.
    """
    with writing(path):
        writer = open_file(path)

    def write(batch: pa.RecordBatch) -> None:
        with writing(path):
            writer.write_batch(batch)

    try:
        yield write
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            writer.close()
        raise
    with writing(path):
        writer.close()


def write_files(
    batches: Iterator[pa.RecordBatch],
    open_file: Callable[[Path], BatchWriter],
    paths: Iterator[Path],
    rows_per_file: int,
) -> list[Path]:
    """Write batches to one file after the other; without any batch, to an empty file.

    Args:
        batches: The batches.
        open_file: Function that opens a writer of Parquet or Arrow files.
        paths: Names of the files; as many as needed.
        rows_per_file: Number of rows after which a new file begins.

    Returns:
        The written files.

    Raises:
        DataError: If a file can't be written.
    """
    written: list[Path] = []
    first = next(batches, None)
    while first is not None or not written:
        path = next(paths)
        with opened(path, open_file) as write:
            rows = 0
            for batch in itertools.chain([] if first is None else [first], batches):
                if rows and rows >= rows_per_file:
                    first = batch
                    break
                write(batch)
                rows += batch.num_rows
            else:
                first = None
        written.append(path)
    return written
