"""Histories of rows that bring their events with them: requests, and tables with a column of events."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.columns import plain
from mtl_lightning.data.features.history import HistoryTransform
from mtl_lightning.data.features.side_tables import join
from mtl_lightning.data.preparation.histories import slices
from mtl_lightning.data.readers.frames import as_array
from mtl_lightning.data.store.events import Events, row_part
from mtl_lightning.errors import DataError


class Listed(NamedTuple):
    """Events of several lists, one after the other.

    Args:
        events: Their raw columns.
        place: Number of the list of each event, [E] int64.
        total: Number of lists.
    """

    events: pa.Table
    place: np.ndarray
    total: int


class GivenHistory(NamedTuple):
    """Encoded histories of B rows.

    Args:
        events: The events of all of them.
        rows: Slice of each row, with its time for gaps; see :func:`~mtl_lightning.data.store.events.row_part`.
    """

    events: Events
    rows: np.ndarray


def listed_in_column(values: pa.Array, transform: HistoryTransform) -> Listed:
    """Events of an Arrow column: lists of structs, or structs of lists of equal lengths.

    Raises:
        DataError: If the column holds other values, or an event's column is missing.
    """
    name, kind = transform.name, values.type
    columns = transform.given_columns
    if pt.is_null(kind) or ((pt.is_list(kind) or pt.is_large_list(kind)) and pt.is_null(kind.value_type)):
        return Listed(pa.table({column: pa.nulls(0) for column in columns}), np.zeros(0, np.int64), len(values))
    if pt.is_struct(kind):
        _require(columns, [field.name for field in kind], name)
        parts = {column: plain(pc.struct_field(values, column)) for column in columns}
        if odd := next((column for column, part in parts.items() if not _is_list(part.type)), None):
            raise DataError(f"column {name!r}: {odd!r} holds {parts[odd].type}, not lists", "one value per event")
        lengths = {column: pc.fill_null(pc.list_value_length(part), 0) for column, part in parts.items()}
        first, *others = lengths
        for other in others:
            if not lengths[first].equals(lengths[other]):
                row = pc.index(pc.not_equal(lengths[first], lengths[other]), True).as_py()
                sizes = f"{lengths[first][row]} of {first!r} and {lengths[other][row]} of {other!r}"
                raise DataError(f"column {name!r} has {sizes} in row {row}", "one value per event")
        flat = {column: pc.list_flatten(part) for column, part in parts.items()}
        return Listed(pa.table(flat), _parents(parts[first]), len(values))
    if not _is_list(kind) or not pt.is_struct(kind.value_type):
        raise DataError(f"column {name!r} holds {kind}, not events", "a list of records, or a record of lists")
    _require(columns, [field.name for field in kind.value_type], name)
    events = pc.list_flatten(values)
    table = pa.table({column: pc.struct_field(events, column) for column in columns})
    return Listed(table, _parents(values), len(values))


def listed_in_json(values: Sequence[Any], transform: HistoryTransform) -> Listed:
    """Events of a request: per row a list of objects, an object of lists of equal lengths, or null for none.

    Raises:
        DataError: If a row has other values, or an event's column is missing.
    """
    name, columns = transform.name, transform.given_columns
    flat: dict[str, list[Any]] = {column: [] for column in columns}
    counts = []
    for entry in values:
        if isinstance(entry, Mapping):
            _require(columns, list(entry), name)
            if not all(isinstance(entry[column], list) for column in columns):
                raise DataError(f"column {name!r} holds an object whose values are not lists", "one value per event")
            sizes = {len(entry[column]) for column in columns}
            if len(sizes) > 1:
                raise DataError(f"column {name!r} has lists of {sorted(sizes)} events", "one value per event")
            for column in columns:
                flat[column] += entry[column]
            counts.append(sizes.pop())
        elif entry is None:
            counts.append(0)
        elif isinstance(entry, list):
            counts.append(len(entry))
            for place, event in enumerate(entry):
                if not isinstance(event, Mapping):
                    raise DataError(f"{name}[{place}] is not an object", "an event is an object of its columns")
                for column in columns:
                    if column not in event:
                        raise DataError(f"{name}[{place}] has no {column!r}", "write null where it is missing")
                    flat[column].append(event[column])
        else:
            raise DataError(f"column {name!r} holds {type(entry).__name__}, not events", "a list of objects")
    for column, items in flat.items():
        if any(isinstance(item, list | dict) for item in items):
            raise DataError(f"column {name!r}: {column!r} holds nested values", "one value per event")
    table = pa.table({column: as_array(items, column) for column, items in flat.items()})
    return Listed(table, np.repeat(np.arange(len(counts)), counts), len(counts))


def given_history(listed: Listed, row_times: pa.Array, transform: HistoryTransform) -> GivenHistory:
    """Histories of rows, by the same definition as those that are built from a log.

    Args:
        listed: Events of each row, or of the one list that all rows share.
        row_times: Time of each row, or the one that all rows share.
        transform: The fitted feature.

    Raises:
        DataError: If a value can't be used.
    """
    rows = max(listed.total, len(row_times))
    moments = transform.instants(pa.table({transform.feature.time: row_times}))
    time = np.broadcast_to(moments.values, rows) if len(row_times) == 1 else moments.values
    known = np.broadcast_to(moments.known, rows) if len(row_times) == 1 else moments.known
    given = join(transform.lookups, listed.events)
    event_times = transform.instants(given)
    happened = transform.happened(given, event_times.known)
    place = np.zeros(rows, dtype=np.int64) if listed.total == 1 else np.arange(rows)
    length, delay = transform.feature.length, transform.delay
    # Each list is the history of a user of its own.
    users, times = listed.place[happened], event_times.values[happened]
    order, start, stop = slices(users, times, place, time, length, delay)
    ids, numbers = transform.encode_steps(given, happened)
    records = transform.layout.pack(ids[order], numbers[order], times[order])
    events = Events.of(records, transform.layout, length)
    row_time = time.astype(np.float64) if transform.feature.gap else None
    return GivenHistory(events, row_part(start, np.where(known, stop, start), row_time))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def _parents(values: pa.Array) -> np.ndarray:
    return np.asarray(pc.list_parent_indices(values).to_numpy()).astype(np.int64)


def _require(columns: Sequence[str], given: Sequence[str], name: str) -> None:
    for column in columns:
        if column not in given:
            hint = "an event has the columns " + ", ".join(columns)
            raise DataError(f"column {name!r}: events have no {column!r}", hint)
