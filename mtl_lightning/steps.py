"""Steps of histories: one record of 32-bit words per event, and the ids, numbers and gaps that it holds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


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


class Records(NamedTuple):
    """Packed events of B rows.

    Args:
        words: Records of each row's events, oldest first, [B, L, W] int32. After a row's last event come events of
            others, which nothing may read.
        length: Number of events of each row, [B] int64.
        time: Time of each row, [B] float64, or None for histories without gaps.
        layout: Words of a record.
    """

    words: Tensor
    length: Tensor
    time: Tensor | None
    layout: Layout

    @property
    def known(self) -> Tensor:
        """True at events of the row, [B, L]."""
        return _known(self.words.shape[1], self.length)

    def ids(self) -> Tensor:
        """Ids, [B, L, K] int64; 0 after a row's last event."""
        ids = self.words[:, :, : self.layout.ids].long()
        return ids.masked_fill_(~self.known.unsqueeze(2), 0)

    def numbers(self) -> Tensor:
        """Numbers, [B, L, F] float32; 0 after a row's last event."""
        values = self.layout.ids + self.layout.numbers
        numbers = self.words.view(torch.float32)[:, :, self.layout.ids : values]
        return torch.where(self.known.unsqueeze(2), numbers, 0.0)

    def gap(self) -> Tensor | None:
        """Time from each event to the row, [B, L] float32; 0 after a row's last event."""
        if self.time is None:
            return None
        happened = self.words[:, :, -2:].contiguous().view(torch.float64).squeeze(2)
        gap = torch.where(self.known, self.time.unsqueeze(1) - happened, 0.0)
        return gap.div_(self.layout.scale).float()

    def map(self, function: Callable[[Tensor], Tensor]) -> "Records":
        """The same records with ``function`` applied to every tensor."""
        time = None if self.time is None else function(self.time)
        return Records(function(self.words), function(self.length), time, self.layout)


def _known(width: int, length: Tensor) -> Tensor:
    return torch.arange(width, device=length.device) < length.unsqueeze(1)


@dataclass(slots=True)
class Steps:
    """A history of each of B rows: the latest events before the row, oldest first, padded with zeros on the right.

    L is the longest history of the batch, rounded up so that few sizes occur. Steps of a loader hold packed records;
    their ids, numbers and gaps are unpacked when they are first read, on the device that holds the batch by then.

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
    records: Records | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def packed(cls, records: Records) -> "Steps":
        """Steps that are unpacked when they are read.

        Example:
            >>> words = torch.tensor([[[3], [4]], [[5], [9]]], dtype=torch.int32)
            >>> records = Records(words, torch.tensor([2, 1]), None, Layout(ids=1, numbers=0))
            >>> Steps.packed(records).ids.flatten().tolist()
            [3, 4, 5, 0]
        """
        steps = cls.__new__(cls)
        steps.length, steps.records = records.length, records
        return steps

    if not TYPE_CHECKING:  # it would let every name through

        def __getattr__(self, name: str) -> Tensor | None:
            """Unpack a part that is not set yet."""
            if name not in ("ids", "numbers", "gap"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = getattr(self.records, name)()
            setattr(self, name, value)
            return value

    @property
    def width(self) -> int:
        """Steps of each row, padding included: L."""
        return self.ids.shape[1] if self.records is None else self.records.words.shape[1]

    @property
    def known(self) -> Tensor:
        """True at events, False at padding, [B, L]."""
        return _known(self.width, self.length)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Steps":
        """The steps with ``function`` applied to ids, numbers, length and gap."""
        gap = None if self.gap is None else function(self.gap)
        return Steps(function(self.ids), function(self.numbers), function(self.length), gap)

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Steps":
        """The same steps in other memory; packed steps stay packed.

        Args:
            move: Returns a tensor of the same values and type.
        """
        return self.map(move) if self.records is None else Steps.packed(self.records.map(move))

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
