"""Histories of an export that grow while it is served: the latest events of each user, and events since then."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.data.arrow.hashing import group_numbers
from mtl_lightning.data.features.history import EncodedEvents, HistoryTransform
from mtl_lightning.data.preparation.given_histories import GivenHistory
from mtl_lightning.data.preparation.histories import slices
from mtl_lightning.data.store.events import Events, row_part
from mtl_lightning.data.store.latest_events import LatestEvents
from mtl_lightning.errors import MtlError

PENDING = 1000
"""Number of events of a user, besides ``length``, that may be within ``delay`` of the user's last one."""


class UserHistory(NamedTuple):
    """Events of one user, oldest first. The arrays are never changed.

    Args:
        times: Time of each event, [E].
        records: What each event carries, [E, W] int32.
    """

    times: np.ndarray
    records: np.ndarray


class FullError(MtlError):
    """Too many users have events that were appended."""


class LiveHistories:
    """Histories by user, to which events are appended; safe with concurrent threads.

    Memory has the events of users with appended events, at most ``length`` + :data:`PENDING` of each; the events of
    other users are mapped from files.

    Args:
        transforms: Transforms of the histories, by name.
        latest: Latest events of each history.

    Example:
        ``live.append(live.encode(pa.table(events)), most_users=1000)``
    """

    def __init__(self, transforms: Mapping[str, HistoryTransform], latest: Mapping[str, LatestEvents]) -> None:
        self.latest = dict(latest)
        self.transforms = {name: transforms[name] for name in latest}
        self._appended: dict[str, dict[int, UserHistory]] = {name: {} for name in latest}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            appended = {name: dict(histories) for name, histories in self._appended.items()}
        return {"latest": self.latest, "transforms": self.transforms, "_appended": appended}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def __contains__(self, name: str) -> bool:
        return name in self.latest

    def columns(self, names: Iterable[str]) -> tuple[str, ...]:
        """Raw columns that an event needs for some histories."""
        return tuple(dict.fromkeys(own for name in names for own in self.transforms[name].source_columns))

    def given(self, asked: Mapping[str, tuple[pa.Array, pa.Array]]) -> dict[str, GivenHistory]:
        """Histories of rows, all as they are at one moment. Users without events have empty ones.

        Args:
            asked: Users and times of the rows, by history; one user or time may be of all rows.

        Raises:
            DataError: If a time can't be used.
        """
        rows = {name: self._rows(self.transforms[name], *columns) for name, columns in asked.items()}
        with self._lock:
            histories = {name: self._of(name, np.unique(user[known])) for name, (user, _, known) in rows.items()}
        return {name: self._given(name, *rows[name], histories[name]) for name in asked}

    @staticmethod
    def _rows(
        transform: HistoryTransform, users: pa.Array, times: pa.Array
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        user = group_numbers(users, transform.feature.by)
        moments = transform.instants(pa.table({transform.feature.time: times}))
        user, time, known = np.broadcast_arrays(user, moments.values, moments.known)
        return user, time, known & (user != WITHOUT_GROUP)

    def _of(self, name: str, users: np.ndarray) -> dict[int, UserHistory]:
        """Events of distinct users."""
        latest, appended = self.latest[name], self._appended[name]
        return {
            user: appended.get(user) or UserHistory(latest.times[part], latest.records[part])
            for user, part in zip(users.tolist(), latest.of(users), strict=True)
        }

    def _given(
        self, name: str, user: np.ndarray, time: np.ndarray, known: np.ndarray, histories: dict[int, UserHistory]
    ) -> GivenHistory:
        transform, latest = self.transforms[name], self.latest[name]
        length, layout = transform.feature.length, transform.layout
        parts = list(histories.values())
        # Also without any user there is an array, of the right type.
        times = np.concatenate([latest.times[:0], *(part.times for part in parts)])
        records = np.concatenate([latest.records[:0], *(part.records for part in parts)])
        users = np.repeat(np.fromiter(histories, np.int64, len(parts)), [len(part.times) for part in parts])
        order, start, stop = slices(users, times, user, time, length, transform.delay)
        row_time = time if transform.feature.gap else None
        return GivenHistory(
            Events.of(records[order], layout, length), row_part(start, np.where(known, stop, start), row_time)
        )

    def encode(self, events: pa.Table, names: Iterable[str]) -> dict[str, EncodedEvents]:
        """Encode events for some histories; those that do not satisfy ``where`` are left out.

        Args:
            events: Raw columns of the events.
            names: Histories.

        Raises:
            DataError: If a column is missing, or holds values that can't be read.
        """
        return {name: self.transforms[name].encode_events(events) for name in names}

    def append(self, encoded: Mapping[str, EncodedEvents], most_users: int) -> None:
        """Append events to all histories, or to none.

        Args:
            encoded: Events by history.
            most_users: Largest number of users of a history with appended events.

        Raises:
            FullError: If there would be more users.
        """
        with self._lock:
            changed = {name: self._changed(name, events) for name, events in encoded.items()}
            for name, histories in changed.items():
                if len(self._appended[name].keys() | histories.keys()) > most_users:
                    message = f"{most_users:,} users have new events in {name!r}, and no more are taken"
                    raise FullError(message, "serve an export of a later log, or raise max_users")
            for name, histories in changed.items():
                self._appended[name].update(histories)

    def _changed(self, name: str, events: EncodedEvents) -> dict[int, UserHistory]:
        transform = self.transforms[name]
        order = np.argsort(events.user, kind="stable")
        users, first = np.unique(events.user[order], return_index=True)
        added = np.split(order, first[1:]) if len(users) else []
        histories = self._of(name, users)
        for (user, history), places in zip(histories.items(), added, strict=True):
            times = np.concatenate([history.times, events.time[places]])
            by_time = np.argsort(times, kind="stable")
            start = _first_needed(times[by_time], transform.feature.length, transform.delay)
            records = np.concatenate([history.records, events.records[places]])
            histories[user] = UserHistory(times[by_time][start:], records[by_time][start:])
        return histories


def _first_needed(times: np.ndarray, length: int, delay: float) -> int:
    """Place of the first event that rows after the last one may have in their histories.

    Example:
        >>> _first_needed(np.array([1, 2, 3, 9, 9]), length=2, delay=0)
        1
    """
    whole = times.dtype.kind == "i"
    visible = int(np.searchsorted(times, times[-1] - (int(delay) if whole else delay)))
    return max(visible - length, len(times) - length - PENDING, 0)
