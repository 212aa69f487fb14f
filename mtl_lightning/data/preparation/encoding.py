"""Encoding of all rows, part by part: workers write the rows into the files of the Stores themselves."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.features.unknown_ids import UnknownIds
from mtl_lightning.data.preparation import growth
from mtl_lightning.data.preparation.event_logs import EventLog
from mtl_lightning.data.preparation.histories import Histories, HistoryBlock, encode_histories
from mtl_lightning.data.preparation.split import SPLITS
from mtl_lightning.data.preparation.split_reader import RowPart, SplitReader
from mtl_lightning.data.preparation.summary import Summary
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.blocks import ROW, prefetch
from mtl_lightning.data.store.writer import StoreWriter, write_rows
from mtl_lightning.errors import DataError
from mtl_lightning.executors.base import Executor


class EncodedPart(NamedTuple):
    """Result of a worker, without the encoded rows, which are in the files.

    Args:
        summaries: Counts of each block, in order.
        shapes: Shape of a row of each matrix.
        histories: Users, times and events of each block, with the split of each row.
        unknown: Codes of the unknown ids of these events, by history.
        keys: Number of rows with a key and of those without a row, by side table.
        units: Units of a second in which the times of each history are stored; None where it has none.
    """

    summaries: list[Summary]
    shapes: dict[str, tuple[int, ...]]
    histories: list[tuple[dict[str, HistoryBlock], np.ndarray]]
    unknown: dict[str, UnknownIds]
    keys: dict[str, tuple[int, int]]
    units: dict[str, int | None]


class EncodeParts:
    """Function that encodes a part and writes its rows; a second call writes the same bytes to the same places.

    Args:
        reader: Reader of the parts.
        transforms: Fitted transforms.
        folders: Folder of each split's files.
    """

    def __init__(self, reader: SplitReader, transforms: Transforms, folders: Mapping[str, Path]) -> None:
        self.reader = reader
        self.before = None if transforms.base is None else growth.known_sizes(transforms, transforms.base)
        self.transforms = copy.copy(transforms)
        self.transforms.base, self.transforms.latest = None, {}
        self.schema = transforms.schema
        self.folders = dict(folders)

    def __call__(self, part: RowPart) -> EncodedPart:
        """Encode a part.

        Raises:
            DataError: If rows cannot be read or encoded, or files can't be written.
        """
        transforms = copy.copy(self.transforms)
        transforms.lookups = {name: lookup.counting() for name, lookup in transforms.lookups.items()}
        unknown = {name: UnknownIds() for name in transforms.histories}
        done = EncodedPart([], {}, [], unknown, {}, {})
        rows = list(part.first)
        for block, assigned in prefetch(self.reader.read(part)):
            with locate_errors(block, assigned):
                block = transforms.join(block)
                parts = encode_block(transforms, block)
                done.histories.append((encode_histories(transforms.histories, block, unknown), assigned))
            done.shapes.update({name: values.shape[1:] for name, values in parts.items()})
            summary = Summary(self.schema, self.before)
            for number, (split, folder) in enumerate(self.folders.items()):
                places = np.flatnonzero(assigned == number)
                if len(places):
                    whole = len(places) == block.num_rows
                    chosen = parts if whole else {name: values.take(places, axis=0) for name, values in parts.items()}
                    write_rows(folder, chosen, rows[number])
                    summary.add(split, chosen)
                    rows[number] += len(places)
            done.summaries.append(summary)
        done.units.update({name: history.per_second for name, history in transforms.histories.items()})
        done.keys.update({name: (lookup.asked, lookup.missing) for name, lookup in transforms.lookups.items()})
        return done


def encode(
    path: Path, reader: SplitReader, transforms: Transforms, logs: Mapping[str, EventLog], executor: Executor
) -> dict[str, Any]:
    """Write the Store of each split and return the summary.

    Args:
        path: Directory of the Stores.
        reader: Reader of the rows.
        transforms: Fitted transforms.
        logs: Events of histories that have files of their own.
        executor: What encodes the parts of the rows. The files do not depend on it.
    """
    base = transforms.base
    summary = Summary(transforms.schema, None if base is None else growth.known_sizes(transforms, base))
    transforms.lookups = {name: lookup.counting() for name, lookup in transforms.lookups.items()}
    with ExitStack() as stack:
        writers = {name: stack.enter_context(StoreWriter(path / name)) for name in SPLITS}
        histories = stack.enter_context(Histories(transforms.histories, path))
        function = EncodeParts(reader, transforms, {name: writer.partial for name, writer in writers.items()})
        shapes: dict[str, tuple[int, ...]] = {}
        for part in executor.map(function, reader.parts()):
            shapes |= part.shapes
            for counts in part.summaries:
                summary.merge(counts)
            for name, history in transforms.histories.items():
                history.merge(part.units[name])
            for events, assigned in part.histories:
                histories.add(events, assigned, part.unknown)
            for name, (asked, missing) in part.keys.items():
                transforms.lookups[name].asked += asked
                transforms.lookups[name].missing += missing
        for split, writer in writers.items():
            writer.add(summary.rows[split], shapes)
            write_rows(writer.partial, {name: np.zeros((0, *shape)) for name, shape in shapes.items()}, 0)
        for name, log in logs.items():
            for block in prefetch(log.blocks()):
                with log.locate_errors(block):
                    histories.add_events(name, log.transform.encode_events(block))
        if base is not None:
            histories.add_earlier(base.latest)
        histories.finish(list(writers.values()))
    return summary.to_dict()


def encode_block(transforms: Transforms, block: pa.Table) -> dict[str, np.ndarray]:
    """Return all parts of the Store for a block; each has B rows."""
    return transforms.encode_features(block) | transforms.encode_labels(block) | transforms.encode_raw(block)


@contextmanager
def locate_errors(block: pa.Table, assigned: np.ndarray | None = None) -> Iterator[None]:
    """Add the split and the row to errors.

    Args:
        block: Block that is read.
        assigned: Index into ``SPLITS`` of each row, [B]; None if all rows are training rows.

    Raises:
        DataError: In place of a ``DataError`` of the block. Errors of several columns become one that lists them.
    """
    splits = np.zeros(block.num_rows, dtype=np.int8) if assigned is None else assigned
    try:
        yield
    except DataError as error:
        problems = [_with_place(problem, block, splits) for problem in (error, *error.others)]
        if len(problems) == 1:
            raise problems[0] from error
        lines = [f"{len(problems)} problems in the rows", *(f"  {problem}" for problem in problems)]
        raise DataError("\n".join(lines)) from error


def _with_place(error: DataError, block: pa.Table, splits: np.ndarray) -> DataError:
    if isinstance(error, RowError):
        row, split = block[ROW][error.index].as_py(), SPLITS[splits[error.index]]
        return DataError(f"{error.message} in row {row} (split {split})", error.hint)
    names = ", ".join(SPLITS[number] for number in np.unique(splits))
    return DataError(f"{error.message} (split {names})", error.hint)
