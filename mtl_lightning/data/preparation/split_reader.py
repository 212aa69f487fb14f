"""A source's rows with the split of each: where a split comes from the source, and where it is assigned."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import as_written
from mtl_lightning.data.preparation.split import SPLITS, SplitSpec, assign, named, split_name
from mtl_lightning.data.readers.blocks import ROW, count_rows, read_blocks
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import Source


class Reader:
    """Reads the columns that are needed, as often as needed, in blocks of one split each.

    Args:
        source: Where rows come from.
        spec: How they are divided.
        columns: Raw columns to read.
        keep: Bytes up to which the blocks of a whole pass are kept for the next one.

    Raises:
        DataError: If the source has no such splits, a column is missing, or rows can't be read.
    """

    def __init__(self, source: Source, spec: SplitSpec, columns: tuple[str, ...], keep: int = 0) -> None:
        self.source = source
        self.spec = spec
        self.columns = columns
        self.keep = keep
        self._kept: list[tuple[pa.Table, np.ndarray]] | None = None

    @cached_property
    def own(self) -> dict[str, str]:
        """The source's own split for each of ours, if the split is given by the source."""
        names = self.source.schema().splits
        if not names:
            raise DataError(
                "split.by: given, but the source has no splits of its own",
                "set split.column to a column that names the split, or choose random, time or user",
            )
        found: dict[str, str] = {}
        for name in names:
            ours = split_name(name)
            if ours is None or ours in found:
                raise DataError(f"split.by: the source's split {name!r} is none of {', '.join(SPLITS)}")
            found[ours] = name
        if "train" not in found:
            raise DataError(f"split.by: given, but the source has only {', '.join(names)}", "it needs a train split")
        return found

    @property
    def _by_source(self) -> bool:
        return self.spec.by == "given" and self.spec.column is None

    @cached_property
    def _divided(self) -> Any:
        """Rows that are divided here: the source's training rows, or all rows."""
        return self.source.rows(self.own["train"] if self._by_source else None)

    @cached_property
    def assignment(self) -> np.ndarray:
        """Index into SPLITS of every row that is divided here."""
        spec = self.spec
        rows = self._divided
        deciding = [name for name in spec.columns if not self._by_source]
        if spec.by == "given" and spec.column is not None:
            parts = [named(spec, as_written(block, spec.column)) for block in read_blocks(rows, deciding, "split")]
            return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int8)
        if deciding:
            return assign(spec, [block.drop_columns(ROW) for block in read_blocks(rows, deciding, "split")])
        given = self.own if self._by_source else {}
        validation = 0.0 if "validation" in given else spec.validation
        test = 0.0 if "test" in given else spec.test
        count = count_rows(rows, self.columns, "the source")
        return assign(SplitSpec(by="random", validation=validation, test=test, seed=spec.seed), [], count)

    def all(self) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Blocks of all rows, each with the index into SPLITS of every row; rows keep the source's order."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[tuple[pa.Table, np.ndarray]] = []
        size = 0
        for block, assigned in self._read():
            size += block.nbytes
            kept = [] if size > self.keep else [*kept, (block, assigned)]
            yield block, assigned
        if size <= self.keep:
            self._kept = kept

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
                raise DataError("the source gave other rows than before", "it changed while it was read")
            yield block, assigned

    def train(self) -> Iterator[pa.Table]:
        """Blocks of training rows."""
        return self.of("train")

    def of(self, split: str) -> Iterator[pa.Table]:
        """Blocks of the rows of one split."""
        for block, assigned in self.all():
            mask = assigned == SPLITS.index(split)
            if mask.any():
                # Arrow filters a table ten times as slowly as it takes the same rows.
                yield block if mask.all() else block.take(pa.array(np.flatnonzero(mask)))
