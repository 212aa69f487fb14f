"""Loader of batches: each row once per epoch across processes, equal steps, exact resumption in mid-epoch."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Self

import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.ahead import run_ahead
from mtl_lightning.data.store.device_store import DeviceStore
from mtl_lightning.data.store.lanes import LaneOrder
from mtl_lightning.data.store.order import FullOrder, Order, PooledOrder, Requests, StoredOrder, generator
from mtl_lightning.data.store.permutation import Permutation
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError

Pack = Callable[[Batch], Callable[[], Batch]]
"""Function from a batch of the host to the function that returns it where it is used."""
WINDOW = 1 << 14
"""Number of rows that one gather takes from a shuffled Store."""


def bounds(total: int, parts: int, index: int) -> tuple[int, int]:
    """Start and end of one of several parts of ``total`` rows; the sizes of the parts differ by at most one.

    Args:
        total: Number of rows.
        parts: Number of parts.
        index: Number of the part, from 0.

    Example:
        >>> [bounds(10, 3, i) for i in range(3)]
        [(0, 3), (3, 6), (6, 10)]
    """
    return total * index // parts, total * (index + 1) // parts


def request_bounds(ends: Tensor, parts: int) -> Tensor:
    """Places that cut rows into parts of whole requests, near parts of equal sizes; [parts + 1] int64.

    No part is empty if there are enough requests.

    Args:
        ends: Place after the last row of each request, [R].
        parts: Number of parts.

    Example:
        >>> request_bounds(torch.tensor([1, 4, 5, 7, 8]), 2).tolist()
        [0, 4, 8]
        >>> request_bounds(torch.tensor([98, 99, 100]), 3).tolist()
        [0, 98, 99, 100]
    """
    edges = torch.cat([torch.zeros(1, dtype=torch.int64), ends])
    number, count = torch.arange(parts + 1), len(ends)
    wanted = number * edges[-1] // parts
    place = torch.searchsorted(edges, wanted)
    before = (place - 1).clamp(min=0)
    place = torch.where(wanted - edges[before] <= edges[place] - wanted, before, place)
    if count >= parts:
        place = torch.minimum((place - number).cummax(0).values + number, count - parts + number)
    return edges[place]


class Loader:
    """Batches of a Store for one of several processes.

    An epoch has ``S = ceil(N / (batch_size × world))`` steps on every process. The N rows are cut into S global
    batches, and each global batch into one part per process; sizes differ by at most one. As a result:

    - There is no tiny last batch, and no row is repeated or padded.
    - One process with ``batch_size × world`` sees the same global batches as ``world`` processes.

    A Store with requests is shuffled by request, and every process gets whole requests: a part ends at the end of a
    request near its place above, so ``batch_size`` is a size on average. In the Store's order, rows are cut as above,
    and a request at a cut is in two batches.

    Lightning saves and restores :meth:`state_dict` with its checkpoints, so a resumed run sees exactly the remaining
    rows.

    Args:
        store: The rows.
        batch_size: Largest number of rows in a process's batch.
        shuffle: Draw a new permutation per epoch. It depends on seed and epoch only, so it is equal on all processes.
        seed: Seed of the permutations.
        rank: Rank of this process.
        world: Number of processes.
        pool: Number of rows in memory at a time, for a Store larger than memory (see
            :class:`~mtl_lightning.data.store.order.PooledOrder`). None for all rows. Must be equal on all processes.
        function: Compute the order of shuffled rows where it is needed, instead of drawing it for all rows on every
            process; a pool is then a :class:`~mtl_lightning.data.store.lanes.LaneOrder`.
        on_device: The same Store on a device. Batches are gathered there, with the same rows.
        pack: Function that a batch of the host passes through. What it returns is called for the final batch.
        ahead: Number of batches that a thread gathers and packs while earlier ones are in use; 0 for no thread.

    Raises:
        DataError: If the order is a function, and the Store has requests.

    Example:
        >>> from mtl_lightning.schema import Schema
        >>> parts = {"ids": torch.arange(5).reshape(5, 1), "dense": torch.zeros(5, 0), "labels": torch.zeros(5, 0),
        ...          "mask": torch.zeros(5, 0, dtype=torch.bool)}
        >>> [batch.ids.flatten().tolist() for batch in Loader(Store(Schema((), ()), parts), 2)]
        [[0], [1, 2], [3, 4]]
    """

    def __init__(
        self,
        store: Store,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        pool: int | None = None,
        function: bool = False,
        on_device: DeviceStore | None = None,
        pack: Pack | None = None,
        ahead: int = 0,
    ) -> None:
        if function and store.requests is not None:
            message = "data.order: a function does not keep the rows of a request together"
            raise DataError(message, "set data.order=array")
        self.store = store
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world = world
        self.pool = pool
        self.function = function
        self.on_device = on_device
        self.pack = pack if on_device is None else on_device.pack
        self.ahead = ahead
        self.epoch = 0
        self.cursor = 0
        self.start: int | None = None
        """Place of the first remaining row in an order of requests, which may depend on the number of processes."""
        self._resumed = False

    def __len__(self) -> int:
        steps = -(-len(self.store) // (self.batch_size * self.world))
        if self.shuffle and self.store.requests is not None:
            return max(min(steps, len(self.store.requests) // self.world), min(steps, 1))
        return steps

    @property
    def sampler(self) -> Self:
        """The loader itself, because Lightning calls ``set_epoch`` of a loader's sampler."""
        return self

    @property
    def batch_sampler(self) -> None:
        """None; Lightning reads this attribute of every loader with a sampler."""
        return None

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch; does nothing if the loader is in this epoch already.

        A run resumed at the end of an epoch gets only the epoch's number from Lightning, not the loader's state.

        Args:
            epoch: Number of the epoch, from 0.
        """
        if epoch != self.epoch:
            self.epoch, self.cursor = epoch, 0

    def order(self) -> Order:
        """The rows in the current epoch's order."""
        seeds = self.seed, self.epoch
        store = self.store if self.on_device is None else self.on_device.rows
        if not self.shuffle:
            return FullOrder(store, None) if self.pool is None else StoredOrder(store)
        if self.pool is not None and self.function:
            return LaneOrder(store, self.pool, len(self), seeds)
        if self.pool is not None:
            return PooledOrder(store, self.pool, seeds)
        # With several processes, consecutive batches of a process are not adjacent: a window would gather foreign rows.
        window = WINDOW if self.world == 1 else 0
        if self.function:
            return FullOrder(store, Permutation(len(store), *seeds), window)
        requests = store.requests
        count = len(store if requests is None else requests)
        permutation, ends = torch.randperm(count, generator=generator(*seeds)), None
        if requests is not None:
            permutation, ends = Requests.of(store.parts["request"]).ordered(permutation)
        return FullOrder(store, permutation, window, ends)

    def __iter__(self) -> Iterator[Batch]:
        if self.cursor and not self._resumed:  # the previous epoch was abandoned before its end
            self.epoch, self.cursor = self.epoch + 1, 0
        self._resumed = False
        order, steps, total = self.order(), len(self), len(self.store)
        edges = None if order.ends is None else request_bounds(order.ends, steps * self.world).tolist()
        step = self.cursor
        if edges is not None and step and self.start not in (None, edges[step * self.world]):
            raise DataError(
                f"saved in mid-epoch by another number of processes than {self.world}, which cut requests elsewhere",
                "resume with as many processes",
            )

        def prepared(step: int) -> Callable[[], Batch]:
            start, stop = bounds(total, steps, step)
            first, last = bounds(stop - start, self.world, self.rank)
            if edges is not None:
                start, place = 0, step * self.world + self.rank
                first, last = edges[place : place + 2]
            batch = order.batch(start + first, start + last)
            return (lambda: batch) if self.pack is None else self.pack(batch)

        with closing(run_ahead(prepared, range(step, steps), self.ahead)) as batches:
            for finish in batches:
                # Advance before yielding: a checkpoint written while the batch is in use counts the batch as seen.
                step += 1
                self.epoch, self.cursor = (self.epoch + 1, 0) if step == steps else (self.epoch, step)
                self.start = None if edges is None else edges[step * self.world]
                yield finish()

    def state_dict(self) -> dict[str, Any]:
        """Position of the loader: the epoch, the number of its steps already yielded, and what must not change."""
        plan = {"rows": len(self.store), "steps": len(self), "pool": self.pool, "order": self._order_name}
        place = {"epoch": self.epoch, "cursor": self.cursor, "start": self.start}
        return {"seed": self.seed, **place, **plan}

    @property
    def _order_name(self) -> str:
        return "function" if self.function else "array"

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`: the next iteration yields the remaining rows.

        Args:
            state: Result of :meth:`state_dict`.

        Raises:
            DataError: If the number of rows differs or, in mid-epoch, the pool, the order or the number of steps. With
                requests, the next iteration raises it if another number of processes cuts the rows elsewhere.
        """
        if state["rows"] != len(self.store):
            raise DataError(
                f"saved with {state['rows']} training rows, resumed with {len(self.store)}",
                "resume with the same data",
            )
        if state["cursor"] and state.get("pool") != self.pool:
            raise DataError(
                f"saved in mid-epoch with pools of {state.get('pool')} rows, resumed with {self.pool}",
                "resume with the same data.pool",
            )
        if state["cursor"] and state.get("order", "array") != self._order_name:
            raise DataError(
                f"saved in mid-epoch with data.order={state.get('order', 'array')}, resumed with {self._order_name}",
                "resume with the same data.order",
            )
        if state["cursor"] and state["steps"] != len(self):
            raise DataError(
                f"saved in mid-epoch of {state['steps']} steps, resumed with {len(self)} steps",
                "resume with the same batch size × processes",
            )
        self.seed, self.epoch, self.cursor = state["seed"], state["epoch"], state["cursor"]
        self.start = state.get("start")
        self._resumed = True
