"""Latest events of each user at the end of a log: what later rows of a user have in their histories."""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypedDict

import numpy as np

from mtl_lightning.bounds import NonNegativeInt, PositiveFloat
from mtl_lightning.data.cache.directory import writing
from mtl_lightning.errors import DataError
from mtl_lightning.schema import UNKNOWN
from mtl_lightning.steps import Layout
from mtl_lightning.structure import StructureError, check, read_json

FORMAT = 1
LONGEST = 1 << 30
"""Largest number of bytes of the description."""
INDEX = np.dtype([("user", np.int64), ("start", np.int64), ("stop", np.int64)])
"""Record of a user: number, and slice of the events."""
PARTS = ("users", "times", "events")
CHUNK = 1 << 14
"""Users whose events are read at a time."""


class Description(TypedDict):
    """Contents of the JSON file next to the files of the events.

    ``unknown`` has the values of negative ids by column, as lists of codes and values; ``source`` identifies the log.
    """

    format: Literal[1]
    users: NonNegativeInt
    events: NonNegativeInt
    time: Literal["int64", "float64"]
    ids: NonNegativeInt
    numbers: NonNegativeInt
    gap: bool
    scale: PositiveFloat
    unknown: dict[str, tuple[list[int], list[Any]]]
    source: str


class UserEvents(NamedTuple):
    """Events of several users, one user after the other, oldest first.

    Args:
        user: User of each event, [E] int64.
        time: Time of each event, [E] int64 or float64.
        records: What an event carries, [E, W] int32; negative ids are the codes of unknown values.
    """

    user: np.ndarray
    time: np.ndarray
    records: np.ndarray


class LatestEvents:
    """Latest events of each user, mapped from files.

    A user has all events within the history's ``delay`` of the user's last one, and the latest ``length`` before these.
    They suffice for any row that is not earlier than the user's last event.

    Args:
        index: Users, ascending, with the slices of their events, [U] of :data:`INDEX`.
        times: Time of each event, [E].
        records: What each event carries, [E, W] int32.
        layout: Words of a record.
        unknown: Values of negative ids, by column and code.
        source: Text that identifies the log.
        folder: Folder of the files.

    Raises:
        DataError: From :meth:`open`, if a file is missing or damaged.

    Example:
        ``LatestEvents.open(Path("run/transforms/latest"), "watched").of(np.array([7]))``
    """

    def __init__(
        self,
        index: np.ndarray,
        times: np.ndarray,
        records: np.ndarray,
        layout: Layout,
        unknown: Mapping[str, Mapping[int, Any]],
        source: str,
        folder: Path,
    ) -> None:
        self.folder = folder
        self.index, self.times, self.records, self.layout = index, times, records, layout
        self.users = np.ascontiguousarray(index["user"])
        self.unknown = unknown
        self.source = source

    @classmethod
    def open(cls, folder: Path, name: str) -> Self:
        """Map the files of a history; events are read on use.

        Args:
            folder: Folder with the files of :func:`files_of`.
            name: Name of the history.
        """
        *paths, about = (folder / file for file in files_of(name))
        try:
            meta: Any = read_json(about, LONGEST)
            check(meta, Description, name)
            layout = Layout(meta["ids"], meta["numbers"], meta["gap"], meta["scale"])
            shapes = ((meta["users"],), (meta["events"],), (meta["events"], layout.words))
            dtypes = (INDEX, np.dtype(meta["time"]), np.dtype(np.int32))
            parts = [_map(*part) for part in zip(paths, dtypes, shapes, strict=True)]
            unknown = {key: dict(zip(codes, values, strict=True)) for key, (codes, values) in meta["unknown"].items()}
            latest = cls(parts[0], parts[1], parts[2], layout, unknown, meta["source"], folder)
            latest._check_index()
        except (StructureError, OSError, ValueError, TypeError) as error:
            raise DataError(f"{about}: not complete events of users: {error}", "fit or export the run again") from error
        return latest

    def _check_index(self) -> None:
        start, stop = self.index["start"], self.index["stop"]
        ascending = bool((np.diff(self.users) > 0).all())
        inside = bool(((start >= 0) & (start <= stop) & (stop <= len(self.times))).all())
        if not ascending or not inside:
            raise ValueError("the users are not in order, or their events are not in the files")

    def __len__(self) -> int:
        return len(self.times)

    def of(self, users: np.ndarray) -> list[slice]:
        """Slice of the events of each user, empty for unknown users.

        Args:
            users: Numbers of users, [B] int64.
        """
        if not len(self.users):
            return [slice(0, 0)] * len(users)
        place = np.minimum(np.searchsorted(self.users, users), len(self.users) - 1)
        rows = self.index[place]
        known = self.users[place] == users
        starts, stops = rows["start"].tolist(), rows["stop"].tolist()
        return [slice(*(ends if here else (0, 0))) for here, *ends in zip(known.tolist(), starts, stops, strict=True)]

    def chunks(self) -> Iterator[UserEvents]:
        """Events of all users, chunk by chunk."""
        counts = self.index["stop"] - self.index["start"]
        for first in range(0, len(self.users), CHUNK):
            users, sizes = self.users[first : first + CHUNK], counts[first : first + CHUNK]
            places = np.repeat(self.index["start"][first : first + CHUNK] - (np.cumsum(sizes) - sizes), sizes)
            places = places + np.arange(len(places))
            yield UserEvents(np.repeat(users, sizes), self.times[places], self.records[places])


class LatestEventsWriter:
    """Context manager that writes the latest events of users.

    Args:
        folder: Folder of the files; made if it does not exist.
        name: Name of the history.
        layout: Words of a record.
        source: Text that identifies the log.

    Example:
        >>> import tempfile
        >>> folder, layout = Path(tempfile.mkdtemp()), Layout(ids=1, numbers=0)
        >>> with LatestEventsWriter(folder, "seen", layout, "a log") as writer:
        ...     writer.write(UserEvents(np.array([8, 8, 7]), np.arange(3), np.array([[5], [6], [4]], np.int32)))
        >>> latest = LatestEvents.open(folder, "seen")
        >>> [latest.records[part, 0].tolist() for part in latest.of(np.array([8, 9, 7]))]
        [[5, 6], [], [4]]
    """

    def __init__(self, folder: Path, name: str, layout: Layout, source: str) -> None:
        *self.paths, self.about = (folder / file for file in files_of(name))
        self.folder, self.layout, self.source = folder, layout, source
        self.unknown: dict[str, dict[int, Any]] = {}
        self.count = 0
        self.time = np.dtype(np.int64)
        self._index: list[np.ndarray] = []
        self._files: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._files = {path.name: path.open("wb") for path in self.paths}
        return self

    def write(self, events: UserEvents) -> None:
        """Append the events of users that are not written yet; all events of a user at once."""
        count = len(events.user)
        if not count:
            return
        self.time = events.time.dtype
        first = np.flatnonzero(np.append(True, events.user[1:] != events.user[:-1]))
        index = np.empty(len(first), dtype=INDEX)
        index["user"], index["start"] = events.user[first], first + self.count
        index["stop"] = np.append(first[1:], count) + self.count
        self._index.append(index)
        self.count += count
        with writing(self.folder):
            for path, values in zip(self.paths[1:], (events.time, events.records), strict=True):
                np.ascontiguousarray(values).tofile(self._files[path.name])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                index = np.concatenate([np.zeros(0, INDEX), *self._index])
                with writing(self.folder):
                    index[np.argsort(index["user"], kind="stable")].tofile(self._files[self.paths[0].name])
                    self._describe(len(index))
        finally:
            for file in self._files.values():
                file.close()

    def _describe(self, users: int) -> None:
        about = {"format": FORMAT, "users": users, "events": self.count, "time": self.time.name, "source": self.source}
        unknown = {name: [list(values), list(values.values())] for name, values in self.unknown.items()}
        about |= {**self.layout._asdict(), "unknown": unknown}
        self.about.write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")


def files_of(name: str) -> list[str]:
    """Names of the files of a history: users, times, events, and the description.

    Example:
        >>> files_of("seen")[0]
        'history-7365656e-users.bin'
    """
    prefix = f"history-{name.encode().hex()}"
    return [*(f"{prefix}-{part}.bin" for part in PARTS), f"{prefix}.json"]


def open_latest(folder: Path, names: Sequence[str]) -> dict[str, LatestEvents]:
    """Map the latest events of some histories; empty if the folder does not exist, as in runs of earlier versions.

    Args:
        folder: Folder with their files.
        names: Names of the histories.

    Raises:
        DataError: If a file is missing or damaged.
    """
    return {name: LatestEvents.open(folder, name) for name in names} if folder.exists() else {}


def export_latest(latest: LatestEvents, folder: Path, name: str) -> None:
    """Write the latest events of a history for an export, in which unknown values are equal.

    Args:
        latest: The events.
        folder: Folder of the export.
        name: Name of the history.
    """
    ids = latest.layout.ids
    with LatestEventsWriter(folder, name, latest.layout, latest.source) as writer:
        for user, time, records in latest.chunks():
            records[:, :ids] = np.where(records[:, :ids] < 0, UNKNOWN, records[:, :ids])
            writer.write(UserEvents(user, time, records))


def exported_latest(
    folder: Path, files: Collection[str], sizes: Mapping[str, Sequence[int]], layouts: Mapping[str, Layout]
) -> dict[str, LatestEvents]:
    """Map the events of histories in an export, and check that they fit it.

    Args:
        folder: Folder of the export.
        files: Names of its files, which are checked already.
        sizes: Sizes of the vocabularies of an event's ids, by history.
        layouts: Words of an event's record, by history.

    Raises:
        DataError: If a file is missing or damaged, or an event has another form or an id of no value.
    """
    histories = {}
    for name, most in sizes.items():
        listed = [file for file in files_of(name) if file in files]
        if not listed:
            continue
        if len(listed) < len(files_of(name)):
            raise DataError(f"{folder}: of the events of {name!r} only {', '.join(listed)} are there", "export again")
        latest = LatestEvents.open(folder, name)
        if latest.layout != layouts[name]:
            raise DataError(f"{folder}: the events of {name!r} have another form than the history", "export again")
        for events in latest.chunks():
            ids = events.records[:, : len(most)]
            if len(ids) and ((ids < 0) | (ids >= np.array(most))).any():
                raise DataError(f"{folder}: events of {name!r} have ids that no vocabulary has", "export again")
        histories[name] = latest
    return histories


def link_latest(source: Path, folder: Path) -> None:
    """Give a folder the files of another one: links where the file system allows it, copies otherwise.

    Args:
        source: Folder with complete files, which are never changed.
        folder: Folder to fill; made if it does not exist.

    Raises:
        OSError: If a file can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        target, partial = folder / path.name, folder / f"{path.name}.partial"
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:  # another file system
            shutil.copy2(path, partial)
        partial.replace(target)


def _map(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name} is not a file")
    if path.stat().st_size != size:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes instead of {size:,}")
    return np.memmap(path, dtype=dtype, mode="r", shape=shape) if size else np.zeros(shape, dtype=dtype)
