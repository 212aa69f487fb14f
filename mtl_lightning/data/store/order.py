"""In which order a loader takes rows, and how it reads them: from memory, or pool by pool from disk."""

from typing import Protocol

import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.store import Store

CHUNK = 8192
"""Rows that stand together on disk and are read together."""


def generator(*numbers: int) -> torch.Generator:
    """Random numbers that depend on these numbers and are the same on all processes."""
    state = 0
    for number in numbers:
        state = (state * 1_000_003 + number) % 2**63
    return torch.Generator().manual_seed(state)


class Order(Protocol):
    """Rows of one epoch in their order."""

    def batch(self, start: int, stop: int) -> Batch:
        """The rows at these places of the order."""


class Whole:
    """All rows at once: in the Store's order, or by a permutation of them all.

    Args:
        store: The rows.
        permutation: Row at each place, [N] int64, or None.
        window: Places whose rows are gathered together, where batches come one after the other: a few large gathers,
            which torch divides among threads, in place of many small ones. 0 for each batch's own.
    """

    def __init__(self, store: Store, permutation: Tensor | None, window: int = 0) -> None:
        self.store = store
        self.permutation = permutation
        self.window = window
        self._gathered: tuple[int, Store] | None = None

    def batch(self, start: int, stop: int) -> Batch:
        """The rows at these places."""
        if self.permutation is None:
            return self.store.batch(slice(start, stop))
        if stop - start >= self.window:
            return self.store.batch(self.permutation[start:stop])
        first, rows = self._gathered or (0, None)
        if rows is None or not first <= start <= stop <= first + len(rows):
            first, rows = start, self.store.take(self.permutation[start : start + self.window])
            self._gathered = first, rows
        return rows.batch(slice(start - first, stop - first))


class Pools:
    """Rows read from disk in pools of many chunks; chunks are shuffled over the Store, rows within a pool.

    Only one pool is in memory. A row can meet any other row in a batch, as the chunks of a pool come from everywhere;
    rows of one chunk meet more often than in a full permutation.

    Args:
        store: The rows, on disk.
        pool: Rows of a pool, about; at least a chunk.
        seeds: Numbers that decide the order (seed and epoch), or None for the Store's own order.
        chunk: Rows of a chunk.

    Example:
        >>> from mtl_lightning.schema import Schema
        >>> empty = torch.zeros(6, 0)
        >>> store = Store(Schema((), ()), {"ids": torch.arange(6).reshape(6, 1), "dense": empty, "labels": empty,
        ...                                "mask": empty.bool()})
        >>> sorted(Pools(store, 4, (0, 0), chunk=2).batch(0, 6).ids.flatten().tolist())
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, store: Store, pool: int, seeds: tuple[int, ...] | None, chunk: int = CHUNK) -> None:
        self.store = store
        self.seeds = seeds
        self.chunk = chunk
        count = -(-len(store) // chunk)
        self.per_pool = max(pool // chunk, 1)
        self.chunks = torch.arange(count) if seeds is None else torch.randperm(count, generator=generator(*seeds))
        sizes = torch.full((count,), chunk)
        if count:
            sizes[self.chunks == count - 1] = len(store) - chunk * (count - 1)
        self.ends = sizes.cumsum(0)
        self._pool: tuple[int, Store] | None = None

    def _bounds(self, pool: int) -> tuple[int, int]:
        first = pool * self.per_pool
        last = min(first + self.per_pool, len(self.chunks))
        return int(self.ends[first - 1]) if first else 0, int(self.ends[last - 1])

    def _load(self, pool: int) -> Store:
        if self._pool is None or self._pool[0] != pool:
            self._pool = None  # before the next one is read: two would take twice the memory
            first = pool * self.per_pool
            starts = (self.chunks[first : first + self.per_pool] * self.chunk).tolist()
            rows = self.store.read([(start, min(start + self.chunk, len(self.store))) for start in starts])
            if self.seeds is not None:
                rows = rows.take(torch.randperm(len(rows), generator=generator(*self.seeds, pool)))
            self._pool = (pool, rows)
        return self._pool[1]

    def batch(self, start: int, stop: int) -> Batch:
        """The rows at these places; reads the next pool when they reach into it."""
        parts = []
        while start < stop:
            chunk = int(torch.searchsorted(self.ends, start, right=True))
            pool = chunk // self.per_pool
            first, last = self._bounds(pool)
            parts.append(self._load(pool).take(slice(start - first, min(stop, last) - first)))
            start = last
        rows = Store.joined(self.store.schema, parts) if parts else self.store.read([])
        return rows.batch(slice(0, len(rows)))
