"""Reader of a source's rows, with the split of each row."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import as_written
from mtl_lightning.data.preparation.request_keys import number_requests, request_keys
from mtl_lightning.data.preparation.split import SPLITS, SplitSpec, assign, assign_by_name, split_name
from mtl_lightning.data.readers.blocks import ROW, RowRange, count_rows, read_blocks, row_ranges
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import Source


@dataclass(frozen=True, eq=False, slots=True)
class RowPart:
    """Rows that one worker reads.

    Args:
        own: The source's own split that they belong to, or None.
        place: Description of what they belong to, for messages.
        rows: The range; None for all rows of a stream.
        assigned: Index into SPLITS of each row, [B] int8, or of all rows.
        first: Number of rows of each split in earlier parts.
        block: The rows themselves, if they are in memory.
    """

    own: str | None
    place: str
    rows: RowRange | None
    assigned: np.ndarray | int
    first: tuple[int, ...]
    block: pa.Table | None = None

    def __str__(self) -> str:
        if self.rows is None:
            return f"{self.place}: reading all rows"
        return f"{self.place}: reading rows {self.rows.start:,} to {self.rows.stop - 1:,}"


class SplitReader:
    """Reader of blocks of rows with their splits, which are the source's own or are assigned here.

    Args:
        source: Source of the rows.
        spec: How rows are divided.
        columns: Raw columns to read.
        keep: Largest number of bytes of all blocks that are kept for later passes; others are read again.
        request: Columns of requests, whose rows are assigned together.

    Raises:
        DataError: While reading, if the source lacks a split or a column, or rows cannot be read.

    Example:
        >>> from mtl_lightning.data.readers.frames import Frame
        >>> spec = SplitSpec(by="time", column="day", test=0.5)
        >>> reader = SplitReader(Frame(rows={"day": [1, 2, 3, 4]}), spec, ("day",))
        >>> [block["day"].to_pylist() for block in reader.of("test")]
        [[3, 4]]
    """

    def __init__(
        self, source: Source, spec: SplitSpec, columns: tuple[str, ...], keep: int = 0, request: tuple[str, ...] = ()
    ) -> None:
        self.source = source
        self.request = request
        self.spec = spec
        self.columns = columns
        self.keep = keep
        self._cached: list[tuple[pa.Table, np.ndarray]] | None = None

    @cached_property
    def own(self) -> dict[str, str]:
        """Name of the source's own split by split, if the source is divided already."""
        names = self.source.schema().splits
        if not names:
            raise DataError(
                "split.by: given, but the source has no splits of its own",
                "set split.column to a column that names the split, or choose random, time or user",
            )
        own: dict[str, str] = {}
        for name in names:
            split = split_name(name)
            if split is None or split in own:
                raise DataError(f"split.by: the source's split {name!r} is none of {', '.join(SPLITS)}")
            own[split] = name
        if "train" not in own:
            raise DataError(f"split.by: given, but the source has only {', '.join(names)}", "it needs a train split")
        return own

    @property
    def _by_source(self) -> bool:
        return self.spec.by == "given" and self.spec.column is None

    @cached_property
    def _opened(self) -> dict[str | None, Any]:
        return {}

    def _rows(self, own: str | None) -> Any:
        if own not in self._opened:
            self._opened[own] = self.source.rows(own)
        return self._opened[own]

    @property
    def _divided(self) -> str | None:
        """The source's own split whose rows are assigned here; None for all rows."""
        return self.own["train"] if self._by_source else None

    def __getstate__(self) -> dict[str, Any]:
        # Other processes open the files themselves, and get the assignment by parts.
        state = {"source": self.source, "spec": self.spec, "columns": self.columns, "keep": self.keep}
        return {**state, "request": self.request, "_cached": None}

    @cached_property
    def assignment(self) -> np.ndarray:
        """Index into SPLITS of each row that is assigned here, [N] int8."""
        spec = self.spec
        rows = self._rows(self._divided)
        deciding = [name for name in spec.columns if not self._by_source]
        if spec.by == "given" and spec.column is not None:
            parts = [
                assign_by_name(spec, as_written(block, spec.column)) for block in read_blocks(rows, deciding, "split")
            ]
            return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int8)
        requests = None
        if self.request:
            blocks = list(read_blocks(rows, [*dict.fromkeys([*deciding, *self.request])], "split"))
            keys = [np.zeros(0, dtype=np.int64), *(request_keys(block, self.request) for block in blocks)]
            requests, _ = number_requests(np.concatenate(keys))
        if deciding:
            read = blocks if self.request else read_blocks(rows, deciding, "split")
            return assign(spec, [block.drop_columns(ROW) for block in read], requests=requests)
        given = self.own if self._by_source else {}
        validation = 0.0 if "validation" in given else spec.validation
        test = 0.0 if "test" in given else spec.test
        count = count_rows(rows, self.columns, "the source") if requests is None else len(requests)
        random = SplitSpec(by="random", validation=validation, test=test, seed=spec.seed)
        return assign(random, [], count, requests)

    def all(self) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Yield blocks of all rows in the source's order, with the index into SPLITS of each row, [B] int8."""
        if self._cached is not None:
            yield from self._cached
            return
        cached: list[tuple[pa.Table, np.ndarray]] = []
        size = 0
        for part in self.parts():
            for block, assigned in self.read(part):
                size += block.nbytes
                cached = [] if size > self.keep else [*cached, (block, assigned)]
                yield block, assigned
        pa.default_memory_pool().release_unused()  # otherwise memory freed by this pass is not reused by the next one
        if size <= self.keep:
            self._cached = cached

    def parts(self) -> list[RowPart]:
        """Divide all rows into parts, in the source's order, that can be read by :meth:`read` in other processes."""
        parts: list[RowPart] = []
        first = np.zeros(len(SPLITS), dtype=np.int64)

        def add(
            own: str | None, rows: RowRange | None, assigned: np.ndarray | int, block: pa.Table | None = None
        ) -> None:
            place = "the source" if own is None or own == self._divided else f"split {own!r}"
            parts.append(RowPart(own, place, rows, assigned, tuple(first.tolist()), block))
            if isinstance(assigned, np.ndarray):
                first[:] += np.bincount(assigned, minlength=len(SPLITS))
            elif rows is not None:  # all rows of a stream are the only part of their split
                first[assigned] += rows.stop - rows.start

        if self._cached is not None:
            for block, assigned in self._cached:
                add(None, RowRange(*_span(block)), assigned, block)
            return parts
        if self._by_source:
            for split, own in self.own.items():
                if split != "train":
                    for rows in row_ranges(self._rows(own)):
                        add(own, rows, SPLITS.index(split))
        for rows in row_ranges(self._rows(self._divided)):
            add(self._divided, rows, self.assignment[slice(None) if rows is None else slice(rows.start, rows.stop)])
        return parts

    def read(self, part: RowPart) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Yield blocks of a part, with the index into SPLITS of each row, [B] int8.

        Raises:
            DataError: If rows cannot be read, or others than before are there.
        """
        if part.block is not None:
            assert isinstance(part.assigned, np.ndarray)
            yield part.block, part.assigned
            return
        count = 0
        for block in read_blocks(self._rows(part.own), self.columns, part.place, only=part.rows):
            if isinstance(part.assigned, np.ndarray):
                assigned = part.assigned[count : count + block.num_rows]
            else:
                assigned = np.full(block.num_rows, part.assigned, dtype=np.int8)
            count += block.num_rows
            if len(assigned) != block.num_rows:
                break
            yield block, assigned
        if part.rows is not None:
            expected = part.rows.stop - part.rows.start
        else:
            expected = len(part.assigned) if isinstance(part.assigned, np.ndarray) else count
        if count != expected:
            raise DataError("the source returned other rows than before", "it changed while it was read")

    def train(self) -> Iterator[pa.Table]:
        """Yield blocks of training rows."""
        return self.of("train")

    def of(self, split: str) -> Iterator[pa.Table]:
        """Yield blocks of the rows of a split."""
        return self.training_rows(self.all(), split)

    @staticmethod
    def training_rows(blocks: Iterable[tuple[pa.Table, np.ndarray]], split: str = "train") -> Iterator[pa.Table]:
        """Yield the rows of a split in blocks that have some."""
        for block, assigned in blocks:
            mask = assigned == SPLITS.index(split)
            if mask.any():
                # Arrow takes ten times as long to filter a table by a mask as to take the same rows by index.
                yield block if mask.all() else block.take(pa.array(np.flatnonzero(mask)))


def _span(block: pa.Table) -> tuple[int, int]:
    start = block[ROW][0].as_py() if block.num_rows else 0
    return start, start + block.num_rows
