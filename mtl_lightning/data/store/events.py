"""Events of histories on disk: each is stored once, sorted by user and time, and rows refer to slices of them.

The events of a row are adjacent, so a batch takes one window of events per row: as many copies as rows, not as events.
"""

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.data.cache.directory import writing
from mtl_lightning.errors import DataError
from mtl_lightning.steps import COUNT_BITS, LONGEST, Layout, Steps, Windows

META = "events.json"
FORMAT = 5
"""Number of the files' format. Events of another one are prepared again."""
PARTS = ("ids", "numbers", "time")
"""Files ``<part>.bin``."""
SHORTEST = 8
"""Smallest width to which the steps of a batch are rounded up."""


def rounded(longest: int, length: int) -> int:
    """Width of a batch's steps: a power of two, at most ``length``, so that few widths occur.

    Args:
        longest: Longest history of the batch.
        length: Longest history that the feature keeps.

    Example:
        >>> [rounded(longest, 50) for longest in (0, 8, 9, 33, 50)]
        [8, 8, 16, 50, 50]
    """
    width = max(SHORTEST, 1 << max(longest - 1, 0).bit_length())
    return min(width, length)


def row_part(start: np.ndarray, stop: np.ndarray, time: np.ndarray | None) -> np.ndarray:
    """Part of a Store for a history: each row's slice and, for gaps, its time, [N, 1] or [N, 2] int64.

    Args:
        start: First event of each row's history, [N].
        stop: The event after its last, [N].
        time: Time of each row, [N], or None for histories without gaps.

    Example:
        >>> row_part(np.array([2]), np.array([5]), None).tolist()
        [[2097155]]
    """
    # One number per slice, and the bits of the time: a row costs the loader one access to few bytes.
    part = np.empty((len(start), 1 if time is None else 2), dtype=np.int64)
    part[:, 0] = (start << COUNT_BITS) | (stop - start)
    if time is not None:
        part[:, 1] = time.astype(np.float64).view(np.int64)
    return part


def lengths(rows: np.ndarray) -> np.ndarray:
    """Number of events of each row, [N] int64, from its :func:`row_part`.

    Example:
        >>> lengths(row_part(np.array([2]), np.array([5]), None)).tolist()
        [3]
    """
    counts: np.ndarray = rows[:, 0] & (LONGEST - 1)
    return counts


class TimeRange:
    """Range of the times of events, and the unit that divides all of them.

    Example:
        >>> times = TimeRange()
        >>> times.add(np.array([5_000_000, 3_000_000]), units=1_000_000)
        >>> times.low, times.high, times.unit
        (3000000, 5000000, 1000000)
    """

    def __init__(self) -> None:
        self.low, self.high, self.unit = 1 << 62, -(1 << 62), 0
        self.whole = True

    def add(self, time: np.ndarray, units: int) -> None:
        """Take times into account.

        Args:
            time: Times, [E] int64 or float64.
            units: Units of time per second where times count fractions of one, otherwise 1.
        """
        self.whole &= time.dtype.kind == "i"
        if self.whole and len(time):
            self.low, self.high = min(self.low, int(time.min())), max(self.high, int(time.max()))
            self.unit = math.gcd(self.unit, 1 if units > 1 and (time % units).any() else units)


class Narrow(NamedTuple):
    """Types of stored events, as small as their values allow: a batch reads and writes few bytes.

    Args:
        ids: Type of ids: ``<i4``, or ``<u2`` where all are below 65,536.
        time: Type of times: ``<f8``, or ``<i4`` for units of ``unit`` from ``origin`` on.
        origin: Time that is stored as 0.
        unit: Units of a row's time per unit of a stored one.

    Example:
        >>> times = TimeRange()
        >>> times.add(np.array([1_700_000_000_000_000, 1_700_009_000_000_000]), units=1_000_000)
        >>> Narrow.of(size=7, times=times).time
        '<i4'
    """

    ids: str = "<i4"
    time: str = "<f8"
    origin: float = 0.0
    unit: int = 1

    @classmethod
    def of(cls, size: int, times: TimeRange) -> Self:
        """Smallest types.

        Args:
            size: Number that all ids are below.
            times: Times of all events.
        """
        ids = "<u2" if size <= 1 << 16 else "<i4"
        low, high, unit = times.low, times.high, times.unit
        # Gaps of whole times are exact in float64 either way, up to 2⁵³.
        if not times.whole or max(abs(low), abs(high)) >= 1 << 52 or high - low >= unit << 32:
            return cls(ids)
        return cls(ids, "<i4", float(low + (unit << 31)), unit)

    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Type of each file."""
        return dict(zip(PARTS, map(np.dtype, (self.ids, "<f4", self.time)), strict=True))

    def narrowed(self, part: str, values: np.ndarray) -> np.ndarray:
        """Values of a part in its type."""
        if part == "time" and self.time == "<i4":
            values = (values - self.origin) / self.unit
        return values.astype(self.dtypes()[part], copy=False)


WIDE = Narrow()
"""Types that hold all values."""


class Events:
    """Events of one history, sorted by user and time. ``length`` events of zeros follow, so that the last has a window.

    Args:
        ids: Ids that each event carries, [E + length, K] int32 or, unsigned, int16.
        numbers: Numbers, [E + length, F] float32.
        time: Time of each event, [E + length] float64 or int32; None for a history without gaps.
        scale: Units of time per unit of a gap.
        length: Longest history that the feature keeps.
        narrow: Types of the parts.

    Example:
        >>> layout = Layout(ids=1, numbers=0, gap=True)
        >>> events = Events.of(layout.pack(np.array([[3], [4], [5]]), np.zeros((3, 0)), np.arange(3) * 10), layout, 3)
        >>> rows = row_part(np.array([0, 1]), np.array([3, 1]), np.array([21.0, 5.0]))
        >>> steps = events.steps(torch.from_numpy(rows))
        >>> steps.ids[..., 0].tolist(), steps.length.tolist(), steps.gap.tolist()
        ([[3, 4, 5], [0, 0, 0]], [3, 0], [[21.0, 11.0, 1.0], [0.0, 0.0, 0.0]])
    """

    def __init__(
        self, ids: Tensor, numbers: Tensor, time: Tensor | None, *, scale: float, length: int, narrow: Narrow = WIDE
    ) -> None:
        self.parts = {"ids": ids, "numbers": numbers} | ({} if time is None else {"time": time})
        self.scale = scale
        self.length = length
        self.narrow = narrow

    def __len__(self) -> int:
        return self.parts["ids"].shape[0] - self.length

    @classmethod
    def of(cls, records: np.ndarray, layout: Layout, length: int) -> Self:
        """Events in memory, from records [E, W] int32."""
        padded = np.zeros((len(records) + length, layout.words), dtype=np.int32)
        padded[: len(records)] = records
        ids, numbers, time = (None if part is None else torch.from_numpy(part) for part in layout.split(padded))
        assert ids is not None
        assert numbers is not None
        return cls(ids, numbers, time, scale=layout.scale, length=length)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map what :class:`EventsWriter` wrote; nothing is read until it is used.

        Raises:
            DataError: If the events are missing, damaged or in the format of another version.
        """
        try:
            meta = json.loads((path / META).read_text(encoding="utf-8"))
            if meta.get("format", 1) != FORMAT:
                raise ValueError(f"format {meta.get('format', 1)} instead of {FORMAT}")
            rows = meta["events"] + meta["length"]
            narrow = Narrow(**meta["narrow"])
            kinds = narrow.dtypes()
            ids, numbers = (_map(path, part, kinds[part], (rows, meta[part])) for part in ("ids", "numbers"))
            time = _map(path, "time", kinds["time"], (rows,)) if meta["gap"] else None
            return cls(ids, numbers, time, scale=meta["scale"], length=meta["length"], narrow=narrow)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not complete events ({error})", "remove it; it is prepared again") from error

    def to(self, device: torch.device) -> "Events":
        """The events on a device."""
        parts = {name: part.to(device) for name, part in self.parts.items()}
        options: dict[str, Any] = {"scale": self.scale, "length": self.length, "narrow": self.narrow}
        return Events(parts["ids"], parts["numbers"], parts.get("time"), **options)

    def steps(self, rows: Tensor, width: int | None = None) -> Steps:
        """The events of some rows.

        Args:
            rows: The rows' :func:`row_part`, [B, 1] or [B, 2] int64.
            width: Steps of each row, padding included; None for what the longest history needs.
        """
        start, count = rows[:, 0] >> COUNT_BITS, rows[:, 0] & (LONGEST - 1)
        if width is None:
            width = rounded(int(count.max()) if len(count) else 0, self.length)
        row_time = rows[:, 1].view(torch.float64) - self.narrow.origin if "time" in self.parts else None
        return Steps.of(EventWindows(self, start, width, count, row_time))

    @property
    def device(self) -> torch.device:
        """Device of the events."""
        return self.parts["ids"].device

    def windows(self, name: str, start: Tensor, width: int) -> Tensor:
        """A part of ``width`` adjacent events from each start on, [B, width, …].

        Args:
            name: Name of the part.
            start: First event of each row, [B] int64.
            width: Number of events.
        """
        part = self.parts[name]
        columns = part[:1].numel()
        if not columns:
            return part.new_zeros(len(start), width, 0)
        # Overlapping windows as rows of a matrix: a row's events are one copy.
        windows = part.as_strided((len(self) + 1, width * columns), (columns, 1))
        return windows.index_select(0, start).view(-1, width, *part.shape[1:])


class EventWindows(Windows):
    """Windows of events. Where the events are on a device and the rows are not yet, only the rows' places are moved.

    Args:
        events: The events.
        start: First event of each row, [B] int64.
        width: L.
        length: Number of events of each row, [B] int64.
        row_time: Time of each row, [B] float64, or None for histories without gaps.
    """

    def __init__(self, events: Events, start: Tensor, width: int, length: Tensor, row_time: Tensor | None) -> None:
        super().__init__(self._stored, width, length, row_time, events.narrow.unit, events.scale)
        self.events, self.start = events, start

    def _stored(self, part: str) -> Tensor:
        return self.events.windows(part, self.start, self.width)

    @override
    def map(self, function: Callable[[Tensor], Tensor]) -> Windows:
        if self.start.device == self.events.device:
            return super().map(function)
        row_time = None if self.row_time is None else function(self.row_time)
        return EventWindows(self.events, function(self.start), self.width, function(self.length), row_time)


class EventsWriter:
    """Writes events block by block, sorted; the caller sees to it that the folder appears only when all is there.

    Ids, numbers and times have a file each: windows of a file need no pass that takes records apart.

    Args:
        path: Directory to make.
        layout: Words of a record.
        length: Longest history that the feature keeps.
        narrow: Types of the files.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "clicks"
        >>> layout = Layout(ids=1, numbers=0)
        >>> with EventsWriter(path, layout, 5) as writer:
        ...     writer.write(layout.pack(np.array([[3], [4]]), np.zeros((2, 0)), np.array([10, 20])))
        >>> len(Events.open(path))
        2
    """

    def __init__(self, path: Path, layout: Layout, length: int, narrow: Narrow = WIDE) -> None:
        self.path = path
        self.layout = layout
        self.length = length
        self.narrow = narrow
        self.count = 0
        self.files: list[Any] = []

    def __enter__(self) -> Self:
        with writing(self.path):
            self.path.mkdir(parents=True)
            self.files = [(self.path / f"{part}.bin").open("wb") for part in PARTS]
        return self

    def write(self, records: np.ndarray) -> None:
        """Append records, [E, W] int32."""
        with writing(self.path):
            for part, file, values in zip(PARTS, self.files, self.layout.split(records), strict=True):
                if values is not None:
                    self.narrow.narrowed(part, values).tofile(file)
        self.count += len(records)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for file in self.files:
                stack.callback(file.close)
            if kind is not None:
                return
            meta = {"format": FORMAT, "events": self.count, "length": self.length, **self.layout._asdict()}
            meta["narrow"] = self.narrow._asdict()
            columns = (self.layout.ids, self.layout.numbers, int(self.layout.gap))
            with writing(self.path):
                for file, count, dtype in zip(self.files, columns, self.narrow.dtypes().values(), strict=True):
                    file.write(bytes(self.length * count * dtype.itemsize))
                (self.path / META).write_text(json.dumps(meta), encoding="utf-8")


def _map(path: Path, part: str, kind: np.dtype[Any], shape: tuple[int, ...]) -> Tensor:
    file, expected = path / f"{part}.bin", math.prod(shape) * kind.itemsize
    size = file.stat().st_size
    if size != expected:
        raise ValueError(f"{file.name} has {size} bytes instead of {expected}")
    if kind == np.uint16:  # of which torch knows little; Windows reads it as unsigned
        kind = np.dtype("<i2")
    if not size:
        return torch.from_numpy(np.zeros(shape, dtype=kind))
    # Copy-on-write: torch needs writable memory, and the file must stay as it is.
    return torch.from_numpy(np.memmap(file, dtype=kind, mode="c", shape=shape))
