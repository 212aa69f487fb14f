"""Events of histories on disk: each is stored once, sorted by user and time, and rows refer to slices of them.

The events of a row are adjacent, so a batch takes one window of events per row: as many copies as rows, not as events.
"""

import json
import math
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mtl_lightning.data.cache.directory import writing
from mtl_lightning.errors import DataError
from mtl_lightning.steps import COUNT_BITS, LONGEST, Layout, Steps, Windows

META = "events.json"
FORMAT = 4
"""Number of the files' format. Events of another one are prepared again."""
DTYPES: dict[str, np.dtype[Any]] = {"ids": np.dtype("<i4"), "numbers": np.dtype("<f4"), "time": np.dtype("<f8")}
"""Type of each file ``<part>.bin``."""
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


class Events:
    """Events of one history, sorted by user and time. ``length`` events of zeros follow, so that the last has a window.

    Args:
        ids: Ids that each event carries, [E + length, K] int32.
        numbers: Numbers, [E + length, F] float32.
        time: Time of each event, [E + length] float64; None for a history without gaps.
        scale: Units of time per unit of a gap.
        length: Longest history that the feature keeps.

    Example:
        >>> layout = Layout(ids=1, numbers=0, gap=True)
        >>> events = Events.of(layout.pack(np.array([[3], [4], [5]]), np.zeros((3, 0)), np.arange(3) * 10), layout, 3)
        >>> rows = row_part(np.array([0, 1]), np.array([3, 1]), np.array([21.0, 5.0]))
        >>> steps = events.steps(torch.from_numpy(rows))
        >>> steps.ids[..., 0].tolist(), steps.length.tolist(), steps.gap.tolist()
        ([[3, 4, 5], [0, 0, 0]], [3, 0], [[21.0, 11.0, 1.0], [0.0, 0.0, 0.0]])
    """

    def __init__(self, ids: Tensor, numbers: Tensor, time: Tensor | None, *, scale: float, length: int) -> None:
        self.ids = ids
        self.numbers = numbers
        self.time = time
        self.scale = scale
        self.length = length

    def __len__(self) -> int:
        return self.ids.shape[0] - self.length

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
            ids, numbers = (_map(path, part, (rows, meta[part])) for part in ("ids", "numbers"))
            time = _map(path, "time", (rows,)) if meta["gap"] else None
            return cls(ids, numbers, time, scale=meta["scale"], length=meta["length"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not complete events ({error})", "remove it; it is prepared again") from error

    def steps(self, rows: Tensor) -> Steps:
        """The events of some rows.

        Args:
            rows: The rows' :func:`row_part`, [B, 1] or [B, 2] int64.
        """
        start, count = rows[:, 0] >> COUNT_BITS, rows[:, 0] & (LONGEST - 1)
        width = rounded(int(count.max()) if len(count) else 0, self.length)
        ids, numbers = (self._windows(part, start, width) for part in (self.ids, self.numbers))
        if self.time is None:
            return Steps.of(Windows(ids, numbers, count))
        row_time = rows[:, 1].view(torch.float64)
        return Steps.of(Windows(ids, numbers, count, self._windows(self.time, start, width), row_time, self.scale))

    def _windows(self, part: Tensor, start: Tensor, width: int) -> Tensor:
        """``width`` adjacent events from each start on, [B, width, …]."""
        columns = part[:1].numel()
        if not columns:
            return part.new_zeros(len(start), width, 0)
        # Overlapping windows as rows of a matrix: a row's events are one copy.
        windows = part.as_strided((len(self) + 1, width * columns), (columns, 1))
        return windows.index_select(0, start).view(-1, width, *part.shape[1:])


class EventsWriter:
    """Writes events block by block, sorted; the caller sees to it that the folder appears only when all is there.

    Ids, numbers and times have a file each: windows of a file need no pass that takes records apart.

    Args:
        path: Directory to make.
        layout: Words of a record.
        length: Longest history that the feature keeps.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "clicks"
        >>> layout = Layout(ids=1, numbers=0)
        >>> with EventsWriter(path, layout, 5) as writer:
        ...     writer.write(layout.pack(np.array([[3], [4]]), np.zeros((2, 0)), np.array([10, 20])))
        >>> len(Events.open(path))
        2
    """

    def __init__(self, path: Path, layout: Layout, length: int) -> None:
        self.path = path
        self.layout = layout
        self.length = length
        self.count = 0
        self.files: list[Any] = []

    def __enter__(self) -> Self:
        with writing(self.path):
            self.path.mkdir(parents=True)
            self.files = [(self.path / f"{part}.bin").open("wb") for part in DTYPES]
        return self

    def write(self, records: np.ndarray) -> None:
        """Append records, [E, W] int32."""
        self._append(records)
        self.count += len(records)

    def _append(self, records: np.ndarray) -> None:
        with writing(self.path):
            for file, values in zip(self.files, self.layout.split(records), strict=True):
                if values is not None:
                    values.tofile(file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for file in self.files:
                stack.callback(file.close)
            if kind is not None:
                return
            self._append(np.zeros((self.length, self.layout.words), dtype=np.int32))
            meta = {"format": FORMAT, "events": self.count, "length": self.length, **self.layout._asdict()}
            with writing(self.path):
                (self.path / META).write_text(json.dumps(meta), encoding="utf-8")


def _map(path: Path, part: str, shape: tuple[int, ...]) -> Tensor:
    file, expected = path / f"{part}.bin", math.prod(shape) * DTYPES[part].itemsize
    size = file.stat().st_size
    if size != expected:
        raise ValueError(f"{file.name} has {size} bytes instead of {expected}")
    if not size:
        return torch.from_numpy(np.zeros(shape, dtype=DTYPES[part]))
    # Copy-on-write: torch needs writable memory, and the file must stay as it is.
    return torch.from_numpy(np.memmap(file, dtype=DTYPES[part], mode="c", shape=shape))
