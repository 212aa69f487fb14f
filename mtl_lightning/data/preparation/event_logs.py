"""Events of histories that come from files of their own, and the ones of them that training rows may see."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.columns import WRITTEN, column, require
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.features.history import RENAMED, HistoryTransform, Moments
from mtl_lightning.data.features.side_tables import without_lookups
from mtl_lightning.data.readers.blocks import ROW, read_blocks
from mtl_lightning.data.readers.uses import Uses
from mtl_lightning.data.sources.table import Table, placed
from mtl_lightning.errors import DataError
from mtl_lightning.validation.review import Review


class EventLog:
    """Files that hold the events of a history.

    Args:
        name: Name of the feature.
        transform: Its transform, whose feature has ``from``.

    Raises:
        DataError: If an option of ``from`` is unknown or wrong.

    Example:
        ``EventLog("read", transforms.histories["read"]).check()``
    """

    def __init__(self, name: str, transform: HistoryTransform) -> None:
        self.feature, self.transform = transform.feature, transform
        self.place = f"features.{name}.from"
        self.names = {own: self.feature.renamed.get(own, own) for own in transform.source_columns}
        """Column in the files of each column that an event has."""
        options = {key: value for key, value in (self.feature.from_ or {}).items() if key != RENAMED}
        review = Review()
        source = review.record(self.place, Table, options, owner="files", also=(RENAMED,))
        review.raise_problems()
        assert isinstance(source, Table)
        if isinstance(source.path, dict):
            raise DataError(f"{self.place}.path: the events of a history have no splits", "list the files")
        self.source = source
        tokens = {self.names[own] for own in without_lookups(transform.lookups, self.feature.event_tokens)}
        source.follow(Uses(frozenset(tokens), frozenset(), frozenset({*self.names.values()} - tokens)))

    def exists(self) -> bool:
        """True if there are files."""
        try:
            return bool(self.source.files)
        except DataError:
            return False

    def check(self) -> None:
        """Check that the files exist and have the columns of an event.

        Raises:
            DataError: If a file is missing or can't be read, or a column is missing.
        """
        with placed(self.place):
            require(list(self.source.schema().columns), self.names.values(), self.place)

    def fingerprint(self) -> str:
        """Digest of the files and of the options that read them."""
        with placed(self.place):
            described = [self.source.fingerprint(), sorted(self.names.items())]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def blocks(self) -> Iterator[pa.Table]:
        """Read the events in blocks, with the columns of the history and the rows' numbers in the files.

        Raises:
            DataError: If a file can't be read, or the lists of a row have different lengths.
        """
        with placed(self.place):
            files = list(dict.fromkeys(self.names.values()))
            for block in read_blocks(self.source.rows(), files, self.place):
                yield self._flat(block)

    def _flat(self, block: pa.Table) -> pa.Table:
        """Give columns the names of the history's columns, and lists a row per element."""
        columns = {own: column(block, name) for own, name in self.names.items()}
        written = {WRITTEN + own: WRITTEN + name for own, name in self.names.items()}
        columns |= {own: column(block, name) for own, name in written.items() if name in block.schema.names}
        columns[ROW] = column(block, ROW)
        lists = {own: values for own, values in columns.items() if _is_list(values.type)}
        if self.feature.by in lists:
            raise DataError(f"{self.place}: {self.names[self.feature.by]!r} holds lists", "a row has one user")
        if not lists:
            return pa.table(columns)
        first, *others = lists
        lengths = {own: pc.fill_null(pc.list_value_length(values), 0) for own, values in lists.items()}
        for other in others:
            if not lengths[first].equals(lengths[other]):
                row = pc.index(pc.not_equal(lengths[first], lengths[other]), True).as_py()
                sizes = [f"{lengths[own][row]} of {self.names[own]!r}" for own in (first, other)]
                message = f"{self.place}: {' and '.join(sizes)} in row {columns[ROW][row]}"
                raise DataError(message, "lists of one row must have equal lengths")
        parents = pc.list_parent_indices(lists[first])
        return pa.table(
            {own: pc.list_flatten(values) if own in lists else values.take(parents) for own, values in columns.items()}
        )

    @contextmanager
    def locate_errors(self, block: pa.Table) -> Iterator[None]:
        """Add the place and the row to errors of a block's values.

        Raises:
            DataError: In place of a ``DataError`` of the block.
        """
        try:
            yield
        except RowError as error:
            row = block[ROW][error.index].as_py()
            raise DataError(f"{self.place}: {error.message} in row {row}", error.hint) from error
        except DataError as error:
            raise DataError(f"{self.place}: {error.message}", error.hint) from error


def event_logs(transforms: Mapping[str, HistoryTransform]) -> dict[str, EventLog]:
    """Files of the histories that have some.

    Args:
        transforms: Histories by name.
    """
    return {name: EventLog(name, part) for name, part in transforms.items() if part.feature.from_ is not None}


class LastRows:
    """Latest time of the training rows of each user, which decides on the events that training rows may see.

    Memory grows with the number of users: 16 bytes for each.

    Example:
        >>> last = LastRows()
        >>> last.add(Moments(np.array([7, 8, 7]), np.array([3, 5, 9]), np.array([True, True, True])))
        >>> events = Moments(np.array([7, 7, 9]), np.array([8, 9, 1]), np.array([True, True, True]))
        >>> last.may_see(events, delay=0).tolist()
        [True, False, False]
    """

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0
        self._merged = 1 << 16

    def add(self, moments: Moments) -> None:
        """Take training rows into account."""
        user, time = moments.user[moments.known], moments.time[moments.known]
        self._parts.append((user, time))
        self._waiting += len(user)
        if self._waiting > self._merged:  # as many as were merged before, so that merging takes linear time in total
            self._merge()

    def merge(self, other: "LastRows") -> None:
        """Take over what another one saw; the order does not matter."""
        self._parts += other._parts
        self._merge()

    def _merge(self) -> None:
        if not self._parts:
            return
        user, time = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        order = np.lexsort((time, user))
        user, time = user[order], time[order]
        last = np.append(user[1:] != user[:-1], True) if len(user) else np.zeros(0, bool)
        self._parts = [(user[last], time[last])]
        self._waiting, self._merged = 0, max(int(last.sum()), 1 << 16)

    def may_see(self, events: Moments, delay: float) -> np.ndarray:
        """Events more than ``delay`` before the latest training row of their user, [E] bool."""
        if not self._parts:
            return np.zeros(len(events.user), dtype=bool)
        self._merge()
        user, time = self._parts[0]
        if not len(user):
            return np.zeros(len(events.user), dtype=bool)
        place = np.minimum(np.searchsorted(user, events.user), len(user) - 1)
        seen: np.ndarray = (user[place] == events.user) & (events.time < time[place] - delay)
        return seen


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))
