"""Shuffled order of a Store larger than memory, in which a process reads its own rows only."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.order import generator
from mtl_lightning.data.store.permutation import Permutation
from mtl_lightning.data.store.store import Store

LANES, SHORTEST, TURNS = 512, 512, 8
"""Most lanes of an order; the fewest rows of a window where the pool allows it; groups of lanes that change windows."""
TOGETHER = 8
"""Windows that a process with fewer lanes reads ahead, over its lanes."""


class LaneOrder:
    """Chunks in a random order, dealt to lanes, of which each contributes the same share to every global batch.

    A global batch holds rows of the first lane, then rows of the second, and so on. A process takes a contiguous
    part of it, hence always the same lanes, and reads them alone. The order depends on the size of global batches, not
    on the number of processes. If this number does not divide the number of lanes, neighbours share a lane, and both
    read it.

    - The order of chunks is a :class:`~mtl_lightning.data.store.permutation.Permutation`. Chunks begin at another row
      in each epoch, so that other rows share one.
    - Rows of a lane are shuffled within windows as long as a chunk. One window per lane is in memory, and an eighth of
      the lanes change their windows at a time. So a batch has rows of as many chunks as there are lanes, and a pool is
      spread over all processes.

    Args:
        store: The rows, on disk.
        pool: Rows in memory at a time, over all processes; up to a quarter more where windows change, and windows that
            are read ahead.
        steps: Number of global batches per epoch, into which rows are divided evenly.
        seeds: Numbers that determine the order (seed and epoch).

    Example:
        >>> from mtl_lightning.schema import Schema
        >>> empty = torch.zeros(6, 0)
        >>> store = Store(Schema((), ()), {"ids": torch.arange(6).reshape(6, 1), "dense": empty, "labels": empty,
        ...                                "mask": empty.bool()})
        >>> order = LaneOrder(store, 4, 2, (0, 0))
        >>> sorted([*order.batch(0, 3).ids.flatten().tolist(), *order.batch(3, 6).ids.flatten().tolist()])
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, store: Store, pool: int, steps: int, seeds: tuple[int, ...]) -> None:
        self.store, self.steps, self.seeds = store, steps, seeds
        self.ends: Tensor | None = None
        self.lanes = 1 << (min(LANES, max(pool // SHORTEST, 1)).bit_length() - 1)
        self.chunk = max(pool // self.lanes, 1)
        rows = len(store)
        self.chunks = Permutation(rows // self.chunk, *seeds)
        self.shift = int(torch.randint(max(rows, 1), (), generator=generator(*seeds)))
        # Global batches have the size `small`, or one row more. A lane contributes to each what is between two of
        # its `bounds`.
        self.small = rows // max(steps, 1)
        lane = np.arange(self.lanes + 1)
        self.bounds = {size: size * lane // self.lanes for size in (self.small, self.small + 1)}
        self.starts = self._before(steps)
        self.sizes = np.diff(self.starts)
        self.heads = self.chunk - 1 - lane[:-1] % TURNS * self.chunk // TURNS
        windows = (self.small // self.lanes + 1) // self.chunk + 3 + TOGETHER  # of a lane at a time
        self._held = np.full((self.lanes, windows), -1)
        self._slots = np.zeros((self.lanes, windows), dtype=np.int64)
        self._free: list[int] = []
        self._buffer = self._allocate(0)

    def _before(self, step: int) -> NDArray[np.int64]:
        """Rows that come before each lane in a step's predecessors, over all lower lanes, [lanes + 1]."""
        larger = len(self.store) * step // max(self.steps, 1) - self.small * step
        return (step - larger) * self.bounds[self.small] + larger * self.bounds[self.small + 1]

    def batch(self, start: int, stop: int) -> Batch:
        """Rows at positions ``start`` to ``stop`` (excluded), all of one global batch."""
        total = len(self.store)
        step = ((start + 1) * self.steps - 1) // max(total, 1)
        first = total * step // max(self.steps, 1)
        size = total * (step + 1) // max(self.steps, 1) - first
        place = np.arange(start - first, stop - first)
        lane = ((place + 1) * self.lanes - 1) // max(size, 1)
        taken = np.diff(self._before(step))
        local = taken[lane] + place - self.bounds[size][lane] + self.heads[lane]
        window = local // self.chunk
        new = np.ones(len(place), dtype=bool)
        new[1:] = (lane[1:] != lane[:-1]) | (window[1:] != window[:-1])
        slots = self._hold(lane[new], window[new])
        index = (slots[np.cumsum(new) - 1] - window) * self.chunk + local
        return self._buffer.batch(torch.from_numpy(index))

    def _hold(self, lane: NDArray[np.int64], window: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of windows in the buffer, after reading those that are missing."""
        entry = lane, window % self._held.shape[1]
        missing = self._held[entry] != window
        if missing.any():
            lowest = np.zeros(self.lanes, dtype=np.int64)
            lowest[lane[::-1]] = window[::-1]  # of several windows, the first
            done = (self._held >= 0) & (self._held < lowest[:, None])
            self._free.extend(self._slots[done].tolist())
            self._held[done] = -1
            lane, window = self._with_next(lane[missing], window[missing], int(lane[-1] - lane[0]) + 1)
            if (lack := len(lane) - len(self._free)) > 0:
                held = len(self._buffer) // self.chunk
                more = max(lack, held // 8)  # seldom: it copies the buffer
                self._buffer = Store.concatenate(self.store.schema, [self._buffer, self._allocate(more)])
                self._free.extend(range(held, held + more))
            self._read(lane, window)
        return self._slots[entry]

    def _with_next(
        self, lane: NDArray[np.int64], window: NDArray[np.int64], lanes: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Missing windows, and the next ones where the process has few lanes."""
        ahead = np.arange(max(TOGETHER // lanes, 1))[:, None]
        most = int(window.max()) + len(ahead)
        pairs = np.unique(lane * most + window + ahead)  # each once
        lane, window = pairs // most, pairs % most
        new = window <= (self.sizes[lane] + self.heads[lane] - 1) // self.chunk
        new &= self._held[lane, window % self._held.shape[1]] != window
        return lane[new], window[new]

    def _read(self, lane: NDArray[np.int64], window: NDArray[np.int64]) -> None:
        begin = np.maximum(window * self.chunk - self.heads[lane], 0)
        end = np.minimum((window + 1) * self.chunk - self.heads[lane], self.sizes[lane])
        ranges = self._ranges(self.starts[lane] + begin, self.starts[lane] + end)
        rows, start = self.store.read(ranges), 0
        places = (
            begin + self.heads[lane] - window * self.chunk
        )  # 0 but for the first window of a lane, which is shorter
        slots = np.array([self._free.pop() for _ in lane])
        entry = lane, window % self._held.shape[1]
        self._held[entry], self._slots[entry] = window, slots
        columns = (lane, window, slots * self.chunk + places, end - begin)
        for *key, first, count in zip(*(column.tolist() for column in columns), strict=True):
            order = torch.randperm(count, generator=generator(*self.seeds, *key)) + start
            for name, part in rows.parts.items():
                torch.index_select(part, 0, order, out=self._buffer.parts[name][first : first + count])
            start += count

    def _ranges(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Ranges of stored rows at positions of the order of chunks."""
        total, whole = len(self.store), len(self.chunks) * self.chunk
        pieces = []
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            cuts = [*range(start - start % self.chunk + self.chunk, min(stop, whole + 1), self.chunk)]
            pieces += list(zip([start, *cuts], [*cuts, stop], strict=True))
        begin = np.array([piece[0] for piece in pieces])
        shuffled = begin < whole
        row = begin + self.shift
        row[shuffled] += (self.chunks(begin[shuffled] // self.chunk) - begin[shuffled] // self.chunk) * self.chunk
        ranges = []
        for (start, stop), first in zip(pieces, (row % total).tolist(), strict=True):
            last = first + stop - start
            ranges += [(first, min(last, total)), (0, last - total)] if last > total else [(first, last)]
        return ranges

    def _allocate(self, slots: int) -> Store:
        rows = slots * self.chunk
        parts = {name: part.new_empty(rows, *part.shape[1:]) for name, part in self.store.parts.items()}
        return Store(self.store.schema, parts, events=self.store.events)
