"""Row orders of a loader: all rows from memory, or pool by pool from disk."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.permutation import Permutation
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError

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


class Requests(NamedTuple):
    """Rows of each of R requests.

    Args:
        rows: All rows, request by request, [N] int64; None if the Store has them in this order.
        starts: Place of the first row of each request in ``rows``, and N, [R + 1] int64.

    Example:
        >>> requests = Requests.of(torch.tensor([0, 1, 0]))
        >>> requests.rows.tolist(), requests.starts.tolist()
        ([0, 2, 1], [0, 2, 3])
        >>> [part.tolist() for part in requests.ordered(torch.tensor([1, 0]))]
        [[1, 0, 2], [1, 3]]
    """

    rows: Tensor | None
    starts: Tensor

    @classmethod
    def of(cls, request: Tensor) -> "Requests":
        """The requests of rows with these numbers, [N], all of which occur."""
        adjacent = bool((request.diff() >= 0).all())
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), request.bincount().cumsum(0)])
        return cls(None if adjacent else request.argsort(stable=True), starts)

    def ordered(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the requests in an order, [N], and the place after the last row of each, [R]."""
        sizes = self.starts.diff()[order]
        ends = sizes.cumsum(0)
        shift = self.starts[order] - (ends - sizes)
        places = torch.arange(int(sizes.sum())) + shift.repeat_interleave(sizes)
        return places if self.rows is None else self.rows[places], ends


class Order(Protocol):
    """Rows of one epoch in a certain order."""

    ends: Tensor | None
    """Position after the last row of each request, [R], in an order that keeps requests together; otherwise None."""

    def batch(self, start: int, stop: int) -> Batch:
        """Rows at positions ``start`` to ``stop`` (excluded) of the order."""


class FullOrder:
    """All rows, in the Store's order or by a permutation.

    Args:
        store: The rows.
        permutation: Row at each position, [N] int64 or a function; None for the Store's order.
        window: Number of consecutive positions whose rows are gathered together. Torch divides one large gather among
            threads, which is faster than many small ones. 0 gathers each batch by itself.
        ends: Position after the last row of each request, [R], if requests are together.

    Example:
        >>> from mtl_lightning.schema import Schema
        >>> empty = torch.zeros(3, 0)
        >>> store = Store(Schema((), ()), {"ids": torch.arange(3).reshape(3, 1), "dense": empty, "labels": empty,
        ...                                "mask": empty.bool()})
        >>> FullOrder(store, torch.tensor([2, 0, 1])).batch(0, 2).ids.flatten().tolist()
        [2, 0]
    """

    def __init__(
        self, store: Store, permutation: Tensor | Permutation | None, window: int = 0, ends: Tensor | None = None
    ) -> None:
        self.store = store
        self.ends = ends
        self.permutation = permutation
        self.window = window
        self._gathered: tuple[int, Store] | None = None

    def batch(self, start: int, stop: int) -> Batch:
        """Rows at positions ``start`` to ``stop`` (excluded) of the order."""
        if self.permutation is None:
            return self.store.batch(slice(start, stop))
        if stop - start >= self.window:
            return self.store.batch(self.permutation[start:stop])
        first, rows = self._gathered or (0, None)
        if rows is None or not first <= start <= stop <= first + len(rows):
            first, rows = start, self.store.take(self.permutation[start : start + self.window])
            self._gathered = first, rows
        return rows.batch(slice(start - first, stop - first))


class StoredOrder:
    """The Store's order, read from disk batch by batch.

    Args:
        store: The rows, on disk.

    Example:
        ``StoredOrder(store).batch(0, 8192)``
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ends: Tensor | None = None

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
        seeds: Numbers that determine the order (seed and epoch); None for the Store's order.
        chunk: Number of rows in a chunk; a request is in one chunk.

    Raises:
        DataError: If rows are shuffled, and the rows of a request are not adjacent on disk.

    Example:
        >>> from mtl_lightning.schema import Schema
        >>> empty = torch.zeros(6, 0)
        >>> store = Store(Schema((), ()), {"ids": torch.arange(6).reshape(6, 1), "dense": empty, "labels": empty,
        ...                                "mask": empty.bool()})
        >>> sorted(PooledOrder(store, 4, (0, 0), chunk=2).batch(0, 6).ids.flatten().tolist())
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, store: Store, pool: int, seeds: tuple[int, ...] | None, chunk: int = CHUNK) -> None:
        self.store = store
        self.seeds = seeds
        self.ends = None
        self.edges = torch.cat([torch.arange(0, len(store), chunk), torch.tensor([len(store)])])
        self.requests = None
        if seeds is not None and store.requests is not None:
            self.requests = Requests.of(store.parts["request"])
            if self.requests.rows is not None:
                raise DataError(
                    "data.request: rows of a request are not next to each other, and the log is larger than memory",
                    "sort the log by request, or set data.pool to its number of rows",
                )
            starts = self.requests.starts
            self.edges = starts[torch.searchsorted(starts, self.edges)].unique()
        count = len(self.edges) - 1
        self.per_pool = max(pool // chunk, 1)
        self.chunks = torch.arange(count) if seeds is None else torch.randperm(count, generator=generator(*seeds))
        self.chunk_ends = self.edges.diff()[self.chunks].cumsum(0)
        if self.requests is not None:
            self.ends = torch.cat([torch.zeros(0, dtype=torch.int64), *self._request_sizes()]).cumsum(0)
        self._pool: tuple[int, Store] | None = None

    def _request_sizes(self) -> Iterator[Tensor]:
        """Rows of the requests of each pool, in the order of the epoch."""
        assert self.requests is not None
        assert self.seeds is not None
        starts = self.requests.starts
        sizes, place = starts.diff(), torch.searchsorted(starts, self.edges).tolist()
        for pool, chunks in enumerate(self.chunks.split(self.per_pool) if len(self.chunks) else ()):
            pooled = torch.cat([sizes[place[chunk] : place[chunk + 1]] for chunk in chunks.tolist()])
            yield pooled[torch.randperm(len(pooled), generator=generator(*self.seeds, pool))]

    def _bounds(self, pool: int) -> tuple[int, int]:
        first = pool * self.per_pool
        last = min(first + self.per_pool, len(self.chunks))
        return int(self.chunk_ends[first - 1]) if first else 0, int(self.chunk_ends[last - 1])

    def _load(self, pool: int) -> Store:
        if self._pool is None or self._pool[0] != pool:
            self._pool = None  # release it before reading the next pool: two would take twice the memory
            first = pool * self.per_pool
            chunks = self.chunks[first : first + self.per_pool]
            ranges = zip(self.edges[chunks].tolist(), self.edges[chunks + 1].tolist(), strict=True)
            rows = self.store.read(list(ranges))
            if self.seeds is not None:
                count = len(rows) if rows.requests is None else len(rows.requests)
                order = torch.randperm(count, generator=generator(*self.seeds, pool))
                rows = rows.take(
                    order if rows.requests is None else Requests.of(rows.parts["request"]).ordered(order)[0]
                )
            self._pool = (pool, rows)
        return self._pool[1]

    def batch(self, start: int, stop: int) -> Batch:
        """Rows at positions ``start`` to ``stop`` (excluded); reads the next pool when they extend into it."""
        parts = []
        while start < stop:
            chunk = int(torch.searchsorted(self.chunk_ends, start, right=True))
            pool = chunk // self.per_pool
            first, last = self._bounds(pool)
            parts.append(self._load(pool).take(slice(start - first, min(stop, last) - first)))
            start = last
        rows = Store.concatenate(self.store.schema, parts) if parts else self.store.read([])
        return rows.batch(slice(0, len(rows)))
