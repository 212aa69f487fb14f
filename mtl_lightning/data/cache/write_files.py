"""Record batches into files, one batch in memory at a time."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from mtl_lightning.data.cache.directory import writing


class BatchWriter(Protocol):
    """What writers of Parquet and of Arrow have in common."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""

    def close(self) -> None:
        """Finish the file."""


@contextmanager
def opened(path: Path, open_file: Callable[[Path], BatchWriter]) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """What appends batches to a file; errors of writing are DataErrors, those of who makes the batches pass."""
    with writing(path):
        writer = open_file(path)

    def write(batch: pa.RecordBatch) -> None:
        with writing(path):
            writer.write_batch(batch)

    try:
        yield write
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
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
    """Write batches to one file after the other; there is one file even if there is no batch.

    Args:
        batches: What to write.
        open_file: Opens a writer of Parquet or Arrow.
        paths: Names of the files, as many as it takes.
        rows_per_file: A file that holds so many rows gets no further batch.

    Returns:
        The files written.
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
