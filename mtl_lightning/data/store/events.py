"""Events of histories on disk: each is stored once, sorted by user and time, and rows refer to slices of them.

An event is a record of 32-bit words (:class:`~mtl_lightning.steps.Layout`). The events of a row are adjacent, so a
batch takes one window of records per row, whatever an event carries.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mtl_lightning.data.cache.directory import writing
from mtl_lightning.errors import DataError
from mtl_lightning.steps import Layout, Records, Steps

META, WORDS = "events.json", "events.bin"
FORMAT = 2
"""Number of the files' format. Events of another one are prepared again."""
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
    """Part of a Store for a history: each row's slice and, for gaps, its time, [N, 2] or [N, 3] int64.

    Args:
        start: First event of each row's history, [N].
        stop: The event after its last, [N].
        time: Time of each row, [N], or None for histories without gaps.

    Example:
        >>> row_part(np.array([2]), np.array([5]), None).tolist()
        [[2, 5]]
    """
    columns = [start, stop]
    if time is not None:
        columns.append(time.astype(np.float64).view(np.int64))  # its bits: one matrix costs a row one access
    return np.stack(columns, axis=1).astype(np.int64, copy=False)


class Events:
    """Events of one history, sorted by user and time.

    Args:
        words: Records of the events, followed by ``length`` records of zeros, [E + length, W] int32.
        layout: Words of a record.
        length: Longest history that the feature keeps.

    Example:
        >>> layout = Layout(ids=1, numbers=0, gap=True)
        >>> events = Events.of(layout.pack(np.array([[3], [4], [5]]), np.zeros((3, 0)), np.arange(3) * 10), layout, 3)
        >>> rows = row_part(np.array([0, 1]), np.array([3, 1]), np.array([21.0, 5.0]))
        >>> steps = events.steps(torch.from_numpy(rows))
        >>> steps.ids[..., 0].tolist(), steps.length.tolist(), steps.gap.tolist()
        ([[3, 4, 5], [0, 0, 0]], [3, 0], [[21.0, 11.0, 1.0], [0.0, 0.0, 0.0]])
    """

    def __init__(self, words: Tensor, layout: Layout, length: int) -> None:
        self.words = words
        self.layout = layout
        self.length = length

    def __len__(self) -> int:
        return self.words.shape[0] - self.length

    @classmethod
    def of(cls, records: np.ndarray, layout: Layout, length: int) -> Self:
        """Events in memory, from records [E, W] int32."""
        words = np.zeros((len(records) + length, layout.words), dtype=np.int32)
        words[: len(records)] = records
        return cls(torch.from_numpy(words), layout, length)

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
            layout = Layout(meta["ids"], meta["numbers"], meta["gap"], meta["scale"])
            shape = (meta["events"] + meta["length"], layout.words)
            size = (path / WORDS).stat().st_size
            if size != 4 * shape[0] * shape[1]:
                raise ValueError(f"{WORDS} has {size} bytes instead of {4 * shape[0] * shape[1]}")
            # Copy-on-write: torch needs writable memory, and the file must stay as it is.
            words = torch.from_numpy(np.memmap(path / WORDS, dtype=np.int32, mode="c", shape=shape))
            return cls(words, layout, meta["length"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not complete events ({error})", "remove it; it is prepared again") from error

    def steps(self, rows: Tensor) -> Steps:
        """The events of some rows, packed.

        Args:
            rows: The rows' :func:`row_part`, [B, 2] or [B, 3] int64.
        """
        start, stop, *time = rows.unbind(1)
        count = stop - start
        width = rounded(int(count.max()) if len(count) else 0, self.length)
        # Overlapping windows of ``width`` records, one from each event on: a row is copied as a whole.
        windows = self.words.as_strided((len(self) + 1, width * self.layout.words), (self.layout.words, 1))
        words = windows.index_select(0, start).view(-1, width, self.layout.words)
        return Steps.packed(Records(words, count, time[0].view(torch.float64) if time else None, self.layout))


class EventsWriter:
    """Writes events block by block, sorted; the caller sees to it that the folder appears only when all is there.

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
        self.file: Any = None

    def __enter__(self) -> Self:
        with writing(self.path):
            self.path.mkdir(parents=True)
            self.file = (self.path / WORDS).open("wb")
        return self

    def write(self, records: np.ndarray) -> None:
        """Append records, [E, W] int32."""
        with writing(self.path):
            np.ascontiguousarray(records, dtype=np.int32).tofile(self.file)
        self.count += len(records)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self.file:
            if kind is not None:
                return
            meta = {"format": FORMAT, "events": self.count, "length": self.length, **self.layout._asdict()}
            with writing(self.path):
                np.zeros((self.length, self.layout.words), dtype=np.int32).tofile(self.file)
                self.file.flush()
                (self.path / META).write_text(json.dumps(meta), encoding="utf-8")
