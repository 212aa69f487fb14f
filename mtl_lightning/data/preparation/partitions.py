"""Rows and events divided by user, in memory while they are few and on disk beyond."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mtl_lightning.data.arrow.hashing import mix
from mtl_lightning.data.cache.directory import writing

PARTITIONS = 32
"""Parts into which users are divided; the events of one of them are sorted at a time."""
IN_MEMORY = 256 << 20
"""Largest number of bytes of each collection of records that stays in memory until it is sorted."""
CHUNK = 1 << 20
"""Rows whose slices are put into the log's order at a time."""


class Partitions:
    """Records divided by a hash of their user, in memory up to :data:`IN_MEMORY` bytes and in files beyond.

    Args:
        path: Prefix of the files.
        dtype: Type of a record; it has a field ``user``.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path = path
        self.dtype = dtype
        self.files: list[BinaryIO] = []
        self.waiting: list[list[np.ndarray]] = [[] for _ in range(PARTITIONS)]
        self.bytes = 0

    def _file(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}-{number}.bin")

    def write(self, records: np.ndarray) -> np.ndarray:
        """Append records, which keep their order within a partition; returns the partition of each, [N] uint8."""
        partition: np.ndarray = (mix(records["user"].view(np.uint64)) % np.uint64(PARTITIONS)).astype(np.uint8)
        order = np.argsort(partition, kind="stable")
        ends = np.cumsum(np.bincount(partition, minlength=PARTITIONS))
        for waiting, places in zip(self.waiting, np.split(order, ends[:-1]), strict=True):
            waiting.append(
                records.take(places)
            )  # arrays of their own, so that each partition is released when it is taken
        self.bytes += records.nbytes
        if self.bytes > IN_MEMORY:
            self._spill()
        return partition

    def _spill(self) -> None:
        with writing(self.path):
            self.files = self.files or [self._file(number).open("wb") for number in range(PARTITIONS)]
            for file, waiting in zip(self.files, self.waiting, strict=True):
                for part in waiting:
                    part.tofile(file)
                waiting.clear()
        self.bytes = 0

    def take(self, number: int) -> np.ndarray:
        """The records of a partition, whose file and memory are released."""
        parts = self.waiting[number]
        self.waiting[number] = []
        if self.files:
            with writing(self.path):
                self.files[number].close()
                parts.insert(0, np.fromfile(self._file(number), dtype=self.dtype))
                self._file(number).unlink()
        return np.concatenate(parts) if parts else np.zeros(0, dtype=self.dtype)

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()


class RowParts:
    """Parts of the Store for the rows of each partition, in memory up to :data:`IN_MEMORY` bytes and in files beyond.

    Args:
        path: Prefix of the files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sources: list[np.ndarray | Path] = []
        self.bytes = 0

    def append(self, rows: np.ndarray) -> None:
        """Append the parts of the next partition's rows, [N, …] int64."""
        self.bytes += rows.nbytes
        if self.bytes <= IN_MEMORY:
            self.sources.append(rows)
            return
        file = self.path.with_name(f"{self.path.name}-{len(self.sources)}.bin")
        with writing(self.path):
            rows.tofile(file)
        self.sources.append(file)

    def in_order(self, partition: np.ndarray, width: int) -> Iterator[np.ndarray]:
        """The parts of all rows in the log's order, chunk by chunk.

        Args:
            partition: Partition of each row, [N].
            width: Columns of the parts.
        """
        with ExitStack() as stack:
            read = [self._reader(part, width, stack) for part in self.sources]
            for start in range(0, max(len(partition), 1), CHUNK):
                chunk = partition[start : start + CHUNK]
                counts = np.bincount(chunk, minlength=len(read)).tolist()
                result = np.empty((len(chunk), width), dtype=np.int64)
                parts = [take(count) for take, count in zip(read, counts, strict=True)]
                result[np.argsort(chunk, kind="stable")] = np.concatenate(parts)
                yield result
        for part in self.sources:
            if isinstance(part, Path):
                part.unlink()

    def _reader(self, source: np.ndarray | Path, width: int, stack: ExitStack) -> Callable[[int], np.ndarray]:
        """Function that returns the next rows of a partition."""
        if isinstance(source, Path):
            file = stack.enter_context(source.open("rb"))
            return lambda count: np.fromfile(file, np.int64, width * count).reshape(-1, width)
        rows, taken = source, 0

        def take(count: int) -> np.ndarray:
            nonlocal taken
            taken += count
            return rows[taken - count : taken]

        return take
