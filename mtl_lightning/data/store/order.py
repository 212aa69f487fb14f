"""Row orders of a loader: all rows from memory, or pool by pool from disk."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.permutation import Permutation
from mtl_lightning.data.store.store import Store

CHUNK = 8192
"""Number of rows that are adjacent on disk and read together."""


def generator(*numbers: int) -> torch.Generator:
    """Random generator seeded by several numbers, equal on all processes.

    Example:
        >>> torch.randperm(3, generator=generator(1, 2)).equal(torch.randperm(3, generator=generator(1, 2)))
        True
    """
    state = 0
    for number in numbers:
        state = (state * 1_000_003 + number) % 2**63
    return torch.Generator().manual_seed(state)


class Order(Protocol):
    """Rows of one epoch in a certain order."""

    def batch(self, start: int, stop: int) -> Batch:
        """Rows at positions ``start`` to ``stop`` (excluded) of the order."""


class FullOrder:
    """All rows, in the Store's order or by a permutation.

    Args:
        store: The rows.
        permutation: Row at each position, [N] int64 or a function; None for the Store's order.
        window: Number of rows of consecutive batches that are gathered together. Torch divides one large gather among
            threads, which is faster than many small ones. 0 gathers each batch by itself.
        following: Start and end of the batch after the one that ends at a position; None after the last.

    Example:
        >>> from mtl_lightning.schema import Schema
        >>> empty = torch.zeros(3, 0)
        >>> store = Store(Schema((), ()), {"ids": torch.arange(3).reshape(3, 1), "dense": empty, "labels": empty,
        ...                                "mask": empty.bool()})
        >>> FullOrder(store, torch.tensor([2, 0, 1])).batch(0, 2).ids.flatten().tolist()
        [2, 0]
    """

    def __init__(
        self,
        store: Store,
        permutation: Tensor | Permutation | None,
        window: int = 0,
        following: Callable[[int], tuple[int, int] | None] = lambda _: None,
    ) -> None:
        self.store = store
        self.permutation = permutation
        self.window = window
        self.following = following
        self._rows = store
        self._places: dict[tuple[int, int], int] = {}

    def batch(self, start: int, stop: int) -> Batch:
        """Rows at positions ``start`` to ``stop`` (excluded) of the order."""
        if self.permutation is None:
            return self.store.batch(slice(start, stop))
        if (start, stop) not in self._places:
            parts: dict[tuple[int, int], int] = {}
            part: tuple[int, int] | None = (start, stop)
            count = 0
            while part is not None and part not in parts:
                parts[part], count = count, count + part[1] - part[0]
                part = self.following(part[1]) if count < self.window else None
            positions = torch.cat([torch.arange(*part) for part in parts])
            self._rows, self._places = self.store.take(self.permutation[positions]), parts
        place = self._places[start, stop]
        return self._rows.batch(slice(place, place + stop - start))


class StoredOrder:
    """The Store's order, read from disk batch by batch.

    Args:
        store: The rows, on disk.

    Example:
        ``StoredOrder(store).batch(0, 8192)``
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def batch(self, start: int, stop: int) -> Batch:
        """Rows ``start`` to ``stop`` (excluded)."""
        return self.store.read([(start, stop)]).batch(slice(None))


class PooledOrder:
    """Rows read from disk in pools of many chunks, for Stores larger than memory.

    Chunks are shuffled over the whole Store, rows within a pool, and only one pool is in memory. The chunks of a pool
    come from the whole Store, so any two rows can share a batch. Rows of one chunk do so more often than in a full
    permutation.

    Args:
        store: The rows, on disk.
        pool: Approximate number of rows in a pool; at least one chunk.
        seeds: Numbers that determine the order (seed and epoch).
        chunk: Number of rows in a chunk.

    Example:
        >>> from mtl_lightning.schema import Schema
        >>> empty = torch.zeros(6, 0)
        >>> store = Store(Schema((), ()), {"ids": torch.arange(6).reshape(6, 1), "dense": empty, "labels": empty,
        ...                                "mask": empty.bool()})
        >>> sorted(PooledOrder(store, 4, (0, 0), chunk=2).batch(0, 6).ids.flatten().tolist())
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, store: Store, pool: int, seeds: tuple[int, ...], chunk: int = CHUNK) -> None:
        self.store = store
        self.seeds = seeds
        self.chunk = chunk
        count = -(-len(store) // chunk)
        self.per_pool = max(pool // chunk, 1)
        self.chunks = torch.randperm(count, generator=generator(*seeds))
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
            self._pool = None  # release it before reading the next pool: two would take twice the memory
            first = pool * self.per_pool
            starts = (self.chunks[first : first + self.per_pool] * self.chunk).tolist()
            rows = self.store.read([(start, min(start + self.chunk, len(self.store))) for start in starts])
            order = torch.randperm(len(rows), generator=generator(*self.seeds, pool))
            self._pool = (pool, rows.take(order))
        return self._pool[1]

    def batch(self, start: int, stop: int) -> Batch:
        """Rows at positions ``start`` to ``stop`` (excluded); reads the next pool when they extend into it."""
        parts = []
        while start < stop:
            chunk = int(torch.searchsorted(self.ends, start, right=True))
            pool = chunk // self.per_pool
            first, last = self._bounds(pool)
            parts.append(self._load(pool).take(slice(start - first, min(stop, last) - first)))
            start = last
        rows = Store.concatenate(self.store.schema, parts) if parts else self.store.read([])
        return rows.batch(slice(0, len(rows)))
