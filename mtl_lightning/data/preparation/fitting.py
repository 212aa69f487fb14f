"""Fitting of transforms to the training split, in one pass by this process or by parts of an executor's workers."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from mtl_lightning.data.preparation.encoding import locate_errors
from mtl_lightning.data.preparation.event_logs import EventLog, LastRows
from mtl_lightning.data.preparation.split_reader import RowPart, SplitReader
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.blocks import prefetch, rebatch
from mtl_lightning.data.readers.parquet import ROWS
from mtl_lightning.errors import DataError
from mtl_lightning.executors.base import Executor

BLOCK = ROWS
"""Number of training rows that are observed at a time. Sums and samples depend on it, and on nothing else."""

BLOCKS = 8
"""Smallest number of blocks that a worker observes for one result, so that few parts are read by two workers."""


def fit(reader: SplitReader, transforms: Transforms, logs: Mapping[str, EventLog], executor: Executor) -> None:
    """Fit transforms to the training split, in one pass, and to the events of files that its rows may see.

    Args:
        reader: Reader of the rows.
        transforms: Transforms to fit.
        logs: Events of histories that have files of their own.
        executor: What observes blocks, if its workers are other processes. The fitted state does not depend on it:
            the blocks are the same, and their measures are added in their order.

    Raises:
        DataError: If the training split has no rows, or a block cannot be read.
    """
    last = {name: LastRows() for name in logs}
    blocks = rebatch(reader.train(), BLOCK)
    by_parts = transforms.mergeable and not executor.shares_memory
    # The first block decides on types and on the origin of moments, which the other blocks need.
    if not sum(observe(transforms, last, block) for block in (islice(blocks, 1) if by_parts else prefetch(blocks))):
        raise DataError("the training split has no rows", "look at split")
    if by_parts:
        for partial, seen in executor.map(FitParts(reader, transforms, logs), training_parts(reader.parts())):
            transforms.merge(partial)
            for name, rows in last.items():
                rows.merge(seen[name])
    for name, log in logs.items():
        fit_events(log, last[name])
    transforms.finish()


def observe(transforms: Transforms, last: Mapping[str, LastRows], block: pa.Table) -> int:
    """Observe a block of training rows; return their number.

    Args:
        transforms: Transforms to fit.
        last: Latest times of training rows, by history with files of its own.
        block: The rows.
    """
    with locate_errors(block):
        transforms.observe(block)
        for name, rows in last.items():
            rows.add(transforms.histories[name].moments(block))
    return int(block.num_rows)


@dataclass(frozen=True, eq=False)
class TrainingPart:
    """Training rows that one worker observes, in whole blocks of :data:`BLOCK` rows but for the last of all.

    Args:
        parts: Parts of the source that hold the rows.
        skip: Number of training rows of these parts before the first one.
        rows: Number of rows.
        block: Number of rows of a block.
    """

    parts: Sequence[RowPart]
    skip: int
    rows: int
    block: int

    def __str__(self) -> str:
        place, first, last = self.parts[0].place, self.parts[0].rows, self.parts[-1].rows
        if first is None or last is None:
            return f"{place}: fitting to all rows"
        return f"{place}: fitting to rows {first.start:,} to {last.stop - 1:,}"


def training_parts(parts: Sequence[RowPart]) -> Iterator[TrainingPart]:
    """Divide the training rows after the first block: into blocks that begin in the same parts of the source.

    Args:
        parts: Parts of all rows, in order.
    """
    parts = [part for part in parts if isinstance(part.assigned, np.ndarray)]  # others are not for training
    if not parts:
        return
    last = parts[-1]
    total = last.first[0] + int(np.count_nonzero(np.asarray(last.assigned) == 0))
    ends = [*(part.first[0] for part in parts[1:]), total]
    start = BLOCK
    for end in ends:
        stop = total if end == total else end // BLOCK * BLOCK
        if stop > start and (stop - start >= BLOCKS * BLOCK or stop == total):
            chosen = [
                part for part, its_end in zip(parts, ends, strict=True) if its_end > start and part.first[0] < stop
            ]
            yield TrainingPart(chosen, start - chosen[0].first[0], stop - start, BLOCK)
            start = stop


class FitParts:
    """Function that observes the training rows of a part.

    Args:
        reader: Reader of the parts.
        transforms: Transforms that have observed the first block.
        names: Histories with files of their own.
    """

    def __init__(self, reader: SplitReader, transforms: Transforms, names: Sequence[str] | Mapping[str, Any]) -> None:
        self.reader = reader
        self.names = list(names)
        unfitted = copy.copy(transforms)
        unfitted.base, unfitted.latest = None, {}
        self.transforms = copy.deepcopy(unfitted)
        self.transforms.record()

    def __call__(self, part: TrainingPart) -> tuple[dict[str, Any], dict[str, LastRows]]:
        """Return what the transforms have observed, and the latest times of training rows.

        Raises:
            DataError: If a block cannot be read.
        """
        transforms, last = copy.deepcopy(self.transforms), {name: LastRows() for name in self.names}
        for block in prefetch(rebatch(self._rows(part), part.block)):
            observe(transforms, last, block)
        return transforms.partial(), last

    def _rows(self, part: TrainingPart) -> Iterator[pa.Table]:
        skip, left = part.skip, part.rows
        for rows in part.parts:
            for block in self.reader.training_rows(self.reader.read(rows)):
                chosen = block.slice(skip, left)
                skip, left = max(skip - block.num_rows, 0), left - chosen.num_rows
                if chosen.num_rows:
                    yield chosen
            if not left:
                return


def fit_events(log: EventLog, last: LastRows) -> None:
    """Fit a history to the events of its files that training rows may see.

    Args:
        log: The files.
        last: Latest times of the training rows.
    """
    for block in prefetch(log.blocks()):
        with log.locate_errors(block):
            log.transform.observe_events(block, lambda moments: last.may_see(moments, log.transform.delay))
