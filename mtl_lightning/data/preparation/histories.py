"""Histories of all rows of a log: every event once, sorted by user and time, and a slice of them per row."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.arrow.threads import map_threads
from mtl_lightning.data.features.history import EncodedEvents, HistoryTransform, Moments
from mtl_lightning.data.features.unknown_ids import UnknownIds, without_codes
from mtl_lightning.data.preparation.partitions import PARTITIONS, Partitions, RowParts
from mtl_lightning.data.store.events import Events, EventsWriter, Narrow, TimeRange, row_part
from mtl_lightning.data.store.latest_events import LatestEvents, LatestEventsWriter, UserEvents
from mtl_lightning.data.store.writer import StoreWriter

LATEST = "latest"
"""Folder of prepared data with the latest events of each user."""


class Slices(NamedTuple):
    """Histories as slices of sorted events.

    Args:
        order: Events, each user's next to each other and by time; of equal times in the log's order, [E].
        start: First event of each row's history, in that order, [N].
        stop: The event after its last, [N].
    """

    order: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def slices(
    user: np.ndarray, time: np.ndarray, row_user: np.ndarray, row_time: np.ndarray, length: int, delay: float = 0
) -> Slices:
    """For each row the latest events of its user with a time below the row's time − delay.

    Args:
        user: User of each event, [E].
        time: Time of each event, [E] int64 or float64.
        row_user: User of each row, [N].
        row_time: Time of each row, [N].
        length: Number of events at most.
        delay: In the unit of the times.

    Example:
        >>> events = np.array([7, 7, 7]), np.array([30, 10, 20])
        >>> order, start, stop = slices(*events, np.array([7, 7, 8]), np.array([30, 31, 99]), 2)
        >>> order.tolist(), start.tolist(), stop.tolist()
        ([1, 2, 0], [0, 1, 0], [2, 3, 0])
    """
    order = _by_user_and_time(user, time)
    return Slices(order, *within(user.take(order), time.take(order), row_user, row_time, length, delay))


def _by_user_and_time(user: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Places of events, the ones of a user next to each other and by time; of equal times in their order."""
    if (time[1:] >= time[:-1]).all():  # the usual log: no time needs to be compared
        return _stable_order(pc.dictionary_encode(pa.array(user)).indices.to_numpy())
    return np.lexsort((time, user))


def _stable_order(code: np.ndarray) -> np.ndarray:
    """Stable order of whole numbers from 0 to 2³¹; sorting code and place as one number is faster than ``argsort``."""
    bits = len(code).bit_length()
    return np.sort((code.astype(np.int64) << bits) | np.arange(len(code))) & ((1 << bits) - 1)


def within(
    user: np.ndarray, time: np.ndarray, row_user: np.ndarray, row_time: np.ndarray, length: int, delay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find :func:`slices` of events, each user's next to each other and by time: starts and stops, [N] int64."""
    # Whole times lie below t − delay exactly where they lie below t − floor(delay).
    limit = row_time - (int(delay) if row_time.dtype.kind == "i" and time.dtype.kind == "i" else delay)
    if not len(user):
        nothing = np.zeros(len(row_user), dtype=np.int64)
        return nothing, nothing
    first = np.flatnonzero(np.append(True, user[1:] != user[:-1]))
    begins = np.append(first, len(user))
    codes = pc.index_in(pa.array(row_user), value_set=pa.array(user[first]))
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    code = codes.fill_null(0).to_numpy().astype(np.int64)
    begin = np.where(known, begins[code], 0)
    end = np.where(known, _earlier(np.repeat(np.arange(len(first)), np.diff(begins)), time, code, limit, begins), 0)
    return np.maximum(begin, end - length), end


def _earlier(
    event_code: np.ndarray, time: np.ndarray, code: np.ndarray, limit: np.ndarray, begins: np.ndarray
) -> np.ndarray:
    """Place of the first event of the row's user whose time is not below the row's limit, [N] int64."""
    if time.dtype.kind == "i" and limit.dtype.kind == "i":
        low = int(time.min())
        span = int(time.max()) - low + 2
        if span * len(begins) < 1 << 62:  # user and time in one integer
            keys = code * span + (np.clip(limit, low, low + span - 1) - low)
            # Rows of one user next to each other: searches then touch memory that is at hand.
            order = _stable_order(code)
            places: np.ndarray = np.empty_like(keys)
            places[order] = np.searchsorted(event_code * span + (time - low), keys.take(order))
            return places
    lower: np.ndarray = begins[code]
    upper: np.ndarray = begins[code + 1]
    while (lower < upper).any():  # a binary search of all rows at once, each within its user's events
        middle = (lower + upper) >> 1
        earlier = (lower < upper) & (time[np.minimum(middle, len(time) - 1)] < limit)
        lower, upper = np.where(earlier, middle + 1, lower), np.where(earlier, upper, middle)
    return lower


class HistoryBlock(NamedTuple):
    """A block of the log for one history.

    Args:
        moments: Users and times of all rows.
        events: The rows that are events; None if events come from other files.
    """

    moments: Moments
    events: EncodedEvents | None


def encode_histories(
    transforms: Mapping[str, HistoryTransform], block: Block, unknown: Mapping[str, UnknownIds]
) -> dict[str, HistoryBlock]:
    """Users, times and events of a block, for each history.

    Args:
        transforms: Histories by name.
        block: Rows of the log.
        unknown: Codes of the unknown ids of each history; new values are added.
    """

    def encode(transform: HistoryTransform) -> HistoryBlock:
        moments, codes = transform.moments(block), unknown[transform.name]
        events = None if transform.feature.from_ is not None else transform.encode_events(block, moments, codes)
        return HistoryBlock(moments, events)

    encoded = map_threads(encode, transforms.values(), block.num_rows)
    return dict(zip(transforms, encoded, strict=True))


class Histories:
    """Context manager that collects a log's rows and events, then writes the events and each row's slice of them.

    Args:
        transforms: Histories by name.
        path: Directory of the prepared data.
    """

    def __init__(self, transforms: Mapping[str, HistoryTransform], path: Path) -> None:
        self.builders = {name: HistoryBuilder(part, path / folder_of(name)) for name, part in transforms.items()}
        self.latest = path / LATEST
        self.source = path.name.partition(".")[0]
        self.assigned: list[np.ndarray] = []

    def __enter__(self) -> Self:
        for builder in self.builders.values():
            builder.transform.unknown = UnknownIds()
        return self

    def __exit__(self, *_: object) -> None:
        for builder in self.builders.values():
            builder.transform.unknown = None
            builder.close()

    def add(self, blocks: Mapping[str, HistoryBlock], assigned: np.ndarray, unknown: Mapping[str, UnknownIds]) -> None:
        """Add a block.

        Args:
            blocks: The block for each history.
            assigned: Split of each of its rows: the writer's number, or a negative one for none.
            unknown: Codes of the unknown ids of its events, for each history.
        """
        for name, builder in self.builders.items():
            moments, events = blocks[name]
            adopted = None if events is None else builder.transform.adopt(events, unknown[name])
            builder.add(HistoryBlock(moments, adopted))
        if self.builders:
            self.assigned.append(assigned)

    def add_events(self, name: str, events: EncodedEvents) -> None:
        """Add events of a history that are not rows of the log."""
        self.builders[name].add_events(events)

    def add_earlier(self, latest: Mapping[str, LatestEvents]) -> None:
        """Add events of an earlier run; an event that this log has as well counts once."""
        for name, events in latest.items():
            builder = self.builders[name]
            for chunk in events.chunks():
                records = builder.transform.look_up(chunk.records, events.unknown)
                builder.add_earlier(EncodedEvents(chunk.user, chunk.time, records))

    def finish(self, writers: Sequence[StoreWriter]) -> None:
        """Write the events, and the slices of each split's rows into its Store."""
        assigned = np.concatenate(self.assigned) if self.assigned else np.zeros(0, dtype=np.int8)
        for name, builder in self.builders.items():
            start = 0
            for chunk in builder.finish(LatestEventsWriter(self.latest, name, builder.transform.layout, self.source)):
                for number, writer in enumerate(writers):
                    rows = np.flatnonzero(assigned[start : start + len(chunk)] == number)
                    writer.write_late({f"history/{name}": chunk.take(rows, axis=0)})
                start += len(chunk)


class HistoryBuilder:
    """Sorts the events of one history and finds each row's slice, in bounded memory.

    Rows and events are divided by user into :data:`PARTITIONS` parts, which are sorted one at a time.

    Args:
        transform: The fitted feature.
        path: Directory of the events, made by :meth:`finish`.
    """

    def __init__(self, transform: HistoryTransform, path: Path) -> None:
        self.transform = transform
        self.path = path
        self.rows: Partitions | None = None
        self.events: Partitions | None = None
        self.earlier: Partitions | None = None
        self.partition: list[np.ndarray] = []
        self.times = TimeRange()

    def close(self) -> None:
        """Close all files."""
        for records in (self.rows, self.events, self.earlier):
            if records is not None:
                records.close()

    def add(self, block: HistoryBlock) -> None:
        """Add a block of the log."""
        moments, events = block
        if self.rows is None:
            kind = np.dtype([("user", np.int64), ("time", moments.time.dtype), ("known", np.bool_)])
            self.rows = Partitions(self.path.with_name(f"{self.path.name}-rows"), kind)
        self.partition.append(self.rows.write(_records(self.rows.dtype, moments)))
        if events is not None:
            self.add_events(events)

    def add_events(self, events: EncodedEvents) -> None:
        """Add events."""
        if self.events is None:
            self.events = self._partitions("events", events)
        self.events.write(_records(self.events.dtype, events))
        self.times.add(events.time, self.transform.units)

    def add_earlier(self, events: EncodedEvents) -> None:
        """Add events of an earlier run."""
        if self.earlier is None:
            self.earlier = self._partitions("earlier", events)
        self.earlier.write(_records(self.earlier.dtype, events))
        self.times.add(events.time, self.transform.units)

    def _partitions(self, suffix: str, events: EncodedEvents) -> Partitions:
        carried = ("records", np.int32, events.records.shape[1:])
        kind = np.dtype([("user", np.int64), ("time", events.time.dtype), carried])
        return Partitions(self.path.with_name(f"{self.path.name}-{suffix}"), kind)

    def _take(self, number: int) -> np.ndarray:
        """Events of a partition, unsorted: the ones of an earlier run first."""
        assert self.events is not None
        events, ids = self.events.take(number), self.transform.layout.ids
        if self.transform.feature.from_ is not None:
            events = events[_first_of_equal(events, ids)]
        if self.earlier is None:
            return events
        earlier = self.earlier.take(number)
        kind = np.promote_types(events.dtype["time"], earlier.dtype["time"])
        both = np.empty(len(earlier) + len(events), dtype=_with_time(events.dtype, kind))
        both[: len(earlier)], both[len(earlier) :] = earlier, events
        equal = equal_events(both, ids)
        again = np.isin(equal[: len(earlier)], equal[len(earlier) :])
        return both[np.flatnonzero(np.append(~again, np.ones(len(events), dtype=bool)))]

    def finish(self, latest: LatestEventsWriter) -> Iterator[np.ndarray]:
        """Write the sorted events.

        Args:
            latest: Writer of the latest events of each user.

        Yields:
            What the rows store (:func:`~mtl_lightning.data.store.events.row_part`), in the log's order, chunk by chunk.
        """
        assert self.rows is not None
        feature, layout = self.transform.feature, self.transform.layout
        if self.events is None:  # its files have no rows
            nothing = np.zeros(0, np.int64)
            self.add_events(EncodedEvents(nothing, nothing, np.zeros((0, layout.words), np.int32)))
        assert self.events is not None
        parts = RowParts(self.path.with_name(f"{self.path.name}-slices"))
        size = max(table.vocabulary.size for table in self.transform.tables.values())
        self.times.add(np.zeros(0, self.rows.dtype["time"]), 1)
        narrow = Narrow.of(size, self.times)
        with EventsWriter(self.path, layout, feature.length, narrow) as writer, latest:
            for number in range(PARTITIONS):
                events, rows = self._take(number), self.rows.take(number)
                user, time = _user_time(events)
                order, start, stop = slices(user, time, *_user_time(rows), feature.length, self.transform.delay)
                stop = np.where(rows["known"], stop, start)
                offset = writer.count
                records = events["records"].take(order, axis=0)
                self._write_latest(latest, UserEvents(user[order], time[order], records))
                records[:, : layout.ids] = without_codes(records[:, : layout.ids])
                writer.write(records)
                parts.append(row_part(start + offset, stop + offset, rows["time"] if feature.gap else None))
        yield from parts.in_order(np.concatenate(self.partition), 2 if feature.gap else 1)

    def _write_latest(self, latest: LatestEventsWriter, events: UserEvents) -> None:
        """Write the events that rows after a user's last event may have in their histories."""
        user, time, records = events
        if not len(user):
            return
        last = np.flatnonzero(np.append(user[1:] != user[:-1], True))
        start, _ = within(user, time, user[last], time[last], self.transform.feature.length, self.transform.delay)
        places = np.flatnonzero(np.arange(len(user)) >= np.repeat(start, np.diff(last, prepend=-1)))
        latest_records = records.take(places, axis=0)
        latest.write(UserEvents(user[places], time[places], latest_records))
        for place, name in enumerate(self.transform.tables):
            ids = latest_records[:, place]
            codes = np.unique(ids[ids < 0])
            if len(codes):
                assert self.transform.unknown is not None
                values = self.transform.unknown.values(name)
                by_code = {code: values[-1 - code] for code in codes.tolist()}
                latest.unknown.setdefault(name, {}).update(by_code)


def equal_events(records: np.ndarray, ids: int) -> np.ndarray:
    """Number events such that two have the same number exactly if user, time and ids are equal, [E] → [E] int64.

    Args:
        records: Events with the fields ``user``, ``time`` and ``records``.
        ids: Number of ids of an event; they are its first words.
    """
    keys = [*records["records"][:, :ids].T, records["time"], records["user"]]
    order = np.lexsort(keys)
    differs = np.zeros(len(records), dtype=bool)
    for key in keys:
        differs[1:] |= key[order[1:]] != key[order[:-1]]
    number = np.empty(len(records), dtype=np.int64)
    number[order] = np.cumsum(differs)
    return number


def _with_time(dtype: np.dtype[Any], time: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype([(name, time if name == "time" else dtype[name]) for name in dtype.names or ()])


def _first_of_equal(records: np.ndarray, ids: int) -> np.ndarray:
    first: np.ndarray = np.sort(np.unique(equal_events(records, ids), return_index=True)[1])
    return first


def _user_time(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(records["user"]), np.ascontiguousarray(records["time"])


def _records(dtype: np.dtype[Any], parts: Moments | EncodedEvents) -> np.ndarray:
    records = np.empty(len(parts.user), dtype=dtype)
    for name, values in parts._asdict().items():
        records[name] = values
    return records


def open_events(path: Path, names: Mapping[str, Any]) -> dict[str, Events]:
    """Map the events of some histories.

    Args:
        path: Directory of prepared data.
        names: Histories by name.
    """
    return {name: Events.open(path / folder_of(name)) for name in names}


def folder_of(name: str) -> str:
    """Name of the directory of a history's events.

    Example:
        >>> folder_of("clicks")
        'history-636c69636b73'
    """
    return f"history-{name.encode().hex()}"
