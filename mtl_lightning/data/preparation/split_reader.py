"""Reader of a source's rows, with the split of each row."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import as_written
from mtl_lightning.data.preparation.request_keys import number_requests, request_keys
from mtl_lightning.data.preparation.split import SPLITS, SplitSpec, assign, assign_by_name, split_name
from mtl_lightning.data.readers.blocks import ROW, count_rows, read_blocks
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import Source


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
    def _divided(self) -> Any:
        """Rows that are assigned here: all rows, or the training rows of a source that is divided already."""
        return self.source.rows(self.own["train"] if self._by_source else None)

    @cached_property
    def assignment(self) -> np.ndarray:
        """Index into SPLITS of each row that is assigned here, [N] int8."""
        spec = self.spec
        rows = self._divided
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
        for block, assigned in self._read():
            size += block.nbytes
            cached = [] if size > self.keep else [*cached, (block, assigned)]
            yield block, assigned
        if size <= self.keep:
            self._cached = cached

    def _read(self) -> Iterator[tuple[pa.Table, np.ndarray]]:
        if self._by_source:
            for split, name in self.own.items():
                if split != "train":
                    for block in read_blocks(self.source.rows(name), self.columns, f"split {name!r}"):
                        yield block, np.full(block.num_rows, SPLITS.index(split), dtype=np.int8)
        for block in read_blocks(self._divided, self.columns, "the source"):
            start = block[ROW][0].as_py() if block.num_rows else 0
            assigned = self.assignment[start : start + block.num_rows]
            if len(assigned) != block.num_rows:
                raise DataError("the source returned other rows than before", "it changed while it was read")
            yield block, assigned

    def train(self) -> Iterator[pa.Table]:
        """Yield blocks of training rows."""
        return self.of("train")

    def of(self, split: str) -> Iterator[pa.Table]:
        """Yield blocks of the rows of a split."""
        for block, assigned in self.all():
            mask = assigned == SPLITS.index(split)
            if mask.any():
                # Arrow takes ten times as long to filter a table by a mask as to take the same rows by index.
                yield block if mask.all() else block.take(pa.array(np.flatnonzero(mask)))
