"""Steps of histories: records and windows of events, and the ids, numbers and gaps that they hold."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

COUNT_BITS = 20
"""Bits of a row's number of events in prepared data; the bits above hold the place of the first one."""
LONGEST = 1 << COUNT_BITS
"""Histories are shorter than this."""


class Layout(NamedTuple):
    """Words of an event's record: ids (int32), numbers (float32) and, where gaps are kept, the time (float64).

    Args:
        ids: Number of ids, K.
        numbers: Number of numbers, F.
        gap: Whether the record ends with the time of the event, in two words.
        scale: Units of time per unit of a gap.

    Example:
        >>> layout = Layout(ids=1, numbers=1, gap=True)
        >>> records = layout.pack(np.array([[7]]), np.array([[0.5]]), np.array([20.0]))
        >>> records.shape, int(records[0, 0])
        ((1, 4), 7)
    """

    ids: int
    numbers: int
    gap: bool = False
    scale: float = 1.0

    @property
    def words(self) -> int:
        """Words of a record, W."""
        return self.ids + self.numbers + 2 * self.gap

    def pack(self, ids: np.ndarray, numbers: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Records of E events, [E, W] int32.

        Args:
            ids: Ids of each event, [E, K].
            numbers: Numbers, [E, F].
            time: Times, [E]; read where gaps are kept.
        """
        records = np.empty((len(ids), self.words), dtype=np.int32)
        values = self.ids + self.numbers
        records[:, : self.ids] = ids
        records[:, self.ids : values] = np.ascontiguousarray(numbers, dtype=np.float32).view(np.int32)
        if self.gap:
            records[:, values:] = np.ascontiguousarray(time, dtype=np.float64).view(np.int32).reshape(-1, 2)
        return records

    def split(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Ids [E, K] int32, numbers [E, F] float32 and, where gaps are kept, times [E] float64 of records [E, W].

        Example:
            >>> layout = Layout(ids=1, numbers=0, gap=True)
            >>> layout.split(layout.pack(np.array([[7]]), np.zeros((1, 0)), np.array([20.0])))[2].tolist()
            [20.0]
        """
        values = self.ids + self.numbers
        ids, numbers, time = (np.ascontiguousarray(part) for part in np.split(records, [self.ids, values], axis=1))
        return ids, numbers.view(np.float32), time.view(np.float64)[:, 0] if self.gap else None


class Windows:
    """Stored events of B rows, L adjacent ones for each row, oldest first.

    The first events of a window are the row's. Those after them belong to others, and every method sets them to zero.
    Windows of a loader are copied from all stored events when a method needs them, so that they are still in the
    processor's cache.

    Args:
        stored: Function from the name of a part to its windows: ``ids``, [B, L, K] int32 or, unsigned, int16;
            ``numbers``, [B, L, F] float32; ``time``, [B, L] float64 or int32, which is not called without ``row_time``.
        width: L.
        length: Number of events of each row, [B] int64.
        row_time: Time of each row, [B] float64, or None for histories without gaps.
        unit: Units of row times per unit of the events' times, which count from the same origin.
        scale: Units of row times per unit of a gap.

    Example:
        >>> parts = {"ids": torch.tensor([[[3], [4]], [[5], [9]]], dtype=torch.int32), "numbers": torch.zeros(2, 2, 0)}
        >>> windows = Windows(parts.__getitem__, 2, torch.tensor([2, 1]))
        >>> windows.ids().flatten().tolist()
        [3, 4, 5, 0]
    """

    def __init__(
        self,
        stored: Callable[[str], Tensor],
        width: int,
        length: Tensor,
        row_time: Tensor | None = None,
        unit: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        self.stored, self.width, self.length, self.row_time = stored, width, length, row_time
        self.unit, self.scale = unit, scale

    def ids(self) -> Tensor:
        """Ids, [B, L, K] int64."""
        return self._own(self.stored("ids")).long()

    def numbers(self) -> Tensor:
        """Numbers, [B, L, F] float32."""
        return self._own(self.stored("numbers").view(torch.int32)).view(torch.float32)

    def gap(self) -> Tensor | None:
        """Time from each event to the row, [B, L] float32."""
        if self.row_time is None:
            return None
        time = self.stored("time")
        gap = self.row_time.unsqueeze(1) - (time if self.unit == 1 else time.double().mul_(self.unit))
        gap = (gap if self.scale == 1 else gap.div_(self.scale)).float()
        return self._own(gap.view(torch.int32).unsqueeze(2)).view(torch.float32).squeeze(2)

    def _own(self, stored: Tensor) -> Tensor:
        """Zero where events are of others, [B, L, K] int32."""
        count = stored.shape[2]
        place = torch.arange(stored.shape[1] * count, dtype=torch.int32, device=stored.device)
        # The sign of place − length × K is all ones before the end: several times faster than a mask of booleans.
        own = (place - (self.length * count).int().unsqueeze(1)) >> 31
        if stored.dtype == torch.int16:  # without the sign, which int16 extends
            own &= 0xFFFF
        return (stored.flatten(1).int() & own).view_as(stored)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Windows":
        """The same windows with ``function`` applied to every tensor."""
        names = ("ids", "numbers") if self.row_time is None else ("ids", "numbers", "time")
        parts = {name: function(self.stored(name)) for name in names}
        row_time = None if self.row_time is None else function(self.row_time)
        return Windows(parts.__getitem__, self.width, function(self.length), row_time, self.unit, self.scale)


@dataclass(slots=True)
class Steps:
    """A history of each of B rows: the latest events before the row, oldest first, padded with zeros on the right.

    L is the longest history of the batch, rounded up so that few sizes occur. Steps of a loader hold windows of stored
    events; ids, numbers and gaps are made of them when they are first read, on the device that holds the batch by then.

    Args:
        ids: Ids of K categorical fields, [B, L, K] int64; 0 is missing or padding, 1 is out of vocabulary.
        numbers: Standardised values of F numeric fields, [B, L, F] float.
        length: Number of events, [B] int64; events after it are padding.
        gap: Time from each event to the row, above 0, [B, L] float, or None if the history has none. In seconds, or in
            the unit of a time column that holds numbers.

    Example:
        >>> steps = Steps(torch.tensor([[[3], [4]], [[5], [0]]]), torch.zeros(2, 2, 0), torch.tensor([2, 1]))
        >>> steps.known.tolist()
        [[True, True], [True, False]]
    """

    ids: Tensor
    numbers: Tensor
    length: Tensor
    gap: Tensor | None = None
    windows: Windows | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, windows: Windows) -> "Steps":
        """Steps whose ids, numbers and gaps are made when they are read.

        Example:
            >>> parts = {"ids": torch.tensor([[[3], [4]], [[5], [9]]], dtype=torch.int32)}
            >>> Steps.of(Windows(parts.__getitem__, 2, torch.tensor([2, 1]))).ids.flatten().tolist()
            [3, 4, 5, 0]
        """
        steps = cls.__new__(cls)
        steps.length, steps.windows = windows.length, windows
        return steps

    if not TYPE_CHECKING:  # it would let every name through

        def __getattr__(self, name: str) -> Tensor | None:
            """Make a part that is not set yet."""
            if name not in ("ids", "numbers", "gap"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = getattr(self.windows, name)()
            setattr(self, name, value)
            return value

    @property
    def width(self) -> int:
        """Steps of each row, padding included: L."""
        return self.ids.shape[1] if self.windows is None else self.windows.width

    @property
    def known(self) -> Tensor:
        """True at events, False at padding, [B, L]."""
        return torch.arange(self.width, device=self.length.device) < self.length.unsqueeze(1)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Steps":
        """The steps with ``function`` applied to ids, numbers, length and gap."""
        gap = None if self.gap is None else function(self.gap)
        return Steps(function(self.ids), function(self.numbers), function(self.length), gap)

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Steps":
        """The same steps in other memory; windows stay windows.

        Args:
            move: Returns a tensor of the same values and type.
        """
        return self.map(move) if self.windows is None else Steps.of(self.windows.map(move))

    def padded(self, length: int) -> "Steps":
        """The same steps with L = ``length``, at least the present one.

        Example:
            >>> steps = Steps(torch.tensor([[[3], [4]]]), torch.zeros(1, 2, 0), torch.tensor([2]))
            >>> steps.padded(4).ids.flatten().tolist()
            [3, 4, 0, 0]
        """
        missing = length - self.width
        ids, numbers = (functional.pad(part, (0, 0, 0, missing)) for part in (self.ids, self.numbers))
        gap = None if self.gap is None else functional.pad(self.gap, (0, missing))
        return Steps(ids, numbers, self.length, gap)
