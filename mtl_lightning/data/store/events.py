"""Events of histories on disk: each is stored once, sorted by user and time, and rows refer to slices of them."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mtl_lightning.batch import Steps
from mtl_lightning.data.cache.directory import writing
from mtl_lightning.errors import DataError

META = "events.json"
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


class Events:
    """Events of one history, sorted by user and time. The first one is padding: zeros, in no slice.

    Args:
        ids: Ids that each event carries, [E, K] int32.
        numbers: Numbers, [E, F] float32.
        time: Time of each event, [E] float64; None for a history without gaps.
        scale: Units of time per unit of a gap.

    Example:
        >>> events = Events(torch.tensor([[0], [3], [4], [5]], dtype=torch.int32), torch.zeros(4, 0),
        ...                 torch.tensor([0.0, 10.0, 20.0, 30.0]))
        >>> steps = events.steps(torch.tensor([[1, 4], [1, 1]]), 3, torch.tensor([31.0, 5.0]))
        >>> steps.ids[..., 0].tolist(), steps.length.tolist(), steps.gap.tolist()
        ([[3, 4, 5], [0, 0, 0]], [3, 0], [[21.0, 11.0, 1.0], [0.0, 0.0, 0.0]])
    """

    def __init__(self, ids: Tensor, numbers: Tensor, time: Tensor | None = None, scale: float = 1.0) -> None:
        self.ids = ids
        self.numbers = numbers
        self.time = time
        self.scale = scale

    def __len__(self) -> int:
        return self.ids.shape[0] - 1

    @classmethod
    def of(cls, ids: np.ndarray, numbers: np.ndarray, time: np.ndarray | None, scale: float) -> Self:
        """Events in memory, without the one that is padding."""

        def filled(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.concatenate([np.zeros_like(values, shape=(1, *values.shape[1:])), values]))

        return cls(filled(ids), filled(numbers), None if time is None else filled(time.astype(np.float64)), scale)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map what :class:`EventsWriter` wrote; nothing is read until it is used.

        Raises:
            DataError: If the events are missing or damaged.
        """
        try:
            meta = json.loads((path / META).read_text(encoding="utf-8"))
            count, dtypes = meta["events"], {"ids": np.int32, "numbers": np.float32, "time": np.float64}
            shapes = {"ids": (count, meta["ids"]), "numbers": (count, meta["numbers"]), "time": (count,)}
            parts = {name: _map(path / f"{name}.bin", dtypes[name], shapes[name]) for name in ("ids", "numbers")}
            time = _map(path / "time.bin", dtypes["time"], shapes["time"]) if meta["gap"] else None
            return cls(parts["ids"], parts["numbers"], time, meta["scale"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not complete events ({error})", "remove it; it is prepared again") from error

    def steps(self, slices: Tensor, length: int, time: Tensor | None = None) -> Steps:
        """The events of some rows.

        Args:
            slices: First event of each row's history and the one after its last, [B, 2] int64.
            length: Longest history that the feature keeps.
            time: Time of each row, [B] float64, for gaps.
        """
        count = slices[:, 1] - slices[:, 0]
        width = rounded(int(count.max()) if len(count) else 0, length)
        step = torch.arange(width)
        padding = step >= count.unsqueeze(1)
        place = (slices[:, :1] + step).masked_fill_(padding, 0)
        flat = place.flatten()
        ids = self.ids.index_select(0, flat).view(*place.shape, -1).long()
        numbers = self.numbers.index_select(0, flat).view(*place.shape, self.numbers.shape[1])
        if self.time is None or time is None:
            return Steps(ids, numbers, count)
        gap = time.unsqueeze(1) - self.time.index_select(0, flat).view(place.shape)
        return Steps(ids, numbers, count, gap.masked_fill_(padding, 0.0).div_(self.scale).float())


class EventsWriter:
    """Writes events block by block, sorted; the caller sees to it that the folder appears only when all is there.

    Args:
        path: Directory to make.
        gap: Whether times are kept.
        scale: See :class:`Events`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "clicks"
        >>> with EventsWriter(path, gap=False, scale=1.0) as writer:
        ...     writer.write(np.array([[3], [4]], np.int32), np.zeros((2, 0), np.float32), np.array([10, 20]))
        >>> len(Events.open(path))
        2
    """

    def __init__(self, path: Path, *, gap: bool, scale: float) -> None:
        self.path = path
        self.gap = gap
        self.scale = scale
        self.count = 0
        self.widths: tuple[int, int] = (0, 0)
        self.files: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with writing(self.path):
            self.path.mkdir(parents=True)
            self.files = {name: (self.path / f"{name}.bin").open("wb") for name in ("ids", "numbers", "time")}
        return self

    def write(self, ids: np.ndarray, numbers: np.ndarray, time: np.ndarray) -> None:
        """Append events; the first call writes the one that is padding before them."""
        if not self.count:
            self.widths = (ids.shape[1], numbers.shape[1])
            self.count = 1
            self._append(np.zeros((1, ids.shape[1])), np.zeros((1, numbers.shape[1])), np.zeros(1))
        self.count += len(ids)
        self._append(ids, numbers, time)

    def _append(self, ids: np.ndarray, numbers: np.ndarray, time: np.ndarray) -> None:
        with writing(self.path):
            np.ascontiguousarray(ids, dtype=np.int32).tofile(self.files["ids"])
            np.ascontiguousarray(numbers, dtype=np.float32).tofile(self.files["numbers"])
            if self.gap:
                time.astype(np.float64).tofile(self.files["time"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self.files.values():
            file.close()
        if kind is None:
            ids, numbers = self.widths
            meta = {"events": self.count, "ids": ids, "numbers": numbers, "gap": self.gap, "scale": self.scale}
            with writing(self.path):
                (self.path / META).write_text(json.dumps(meta), encoding="utf-8")


def _map(path: Path, dtype: Any, shape: tuple[int, ...]) -> Tensor:
    if 0 in shape:
        return torch.from_numpy(np.zeros(shape, dtype=dtype))
    # Copy-on-write: torch needs writable memory, and the file must stay as it is.
    return torch.from_numpy(np.memmap(path, dtype=dtype, mode="c", shape=shape))
