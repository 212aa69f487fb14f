"""The loader: every row once per epoch over all processes, equal steps, and exact resumption in mid-epoch."""

from collections.abc import Iterator
from typing import Any, Self

import torch

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.order import Order, Pools, Whole, generator
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError

WINDOW = 1 << 14
"""Rows that are gathered together from a shuffled Store."""


def bounds(total: int, parts: int, index: int) -> tuple[int, int]:
    """Start and end of part ``index`` when ``total`` rows are cut into parts whose sizes differ by at most one.

    Example:
        >>> [bounds(10, 3, i) for i in range(3)]
        [(0, 3), (3, 6), (6, 10)]
    """
    return total * index // parts, total * (index + 1) // parts


class Loader:
    """Batches of a Store for one of several processes.

    An epoch has ``S = ceil(N / (batch_size × world))`` steps on every process. The N rows are cut into S global
    batches whose sizes differ by at most one, and each global batch into the processes' parts, likewise. So there is
    no tiny last batch, no row is seen twice or padded, and one process with ``batch_size × world`` sees the same
    global batches as ``world`` processes.

    Lightning saves and restores :meth:`state_dict` with its checkpoints: a resumed run sees exactly the rows left.

    Args:
        store: The rows.
        batch_size: Largest number of rows in a process's batch.
        shuffle: A new permutation per epoch, from seed and epoch, equal on all processes.
        seed: Seed of the permutations.
        rank: Number of this process.
        world: Number of processes.
        pool: Rows in memory at a time, for a Store that is larger than memory (see
            :class:`~mtl_lightning.data.store.order.Pools`); None for all. All processes need the same.

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
    ) -> None:
        self.store = store
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world = world
        self.pool = pool
        self.epoch = 0
        self.cursor = 0
        self._resumed = False

    def __len__(self) -> int:
        return -(-len(self.store) // (self.batch_size * self.world))

    @property
    def sampler(self) -> Self:
        """Itself: Lightning tells a loader's sampler which epoch begins."""
        return self

    @property
    def batch_sampler(self) -> None:
        """Nothing: Lightning looks for one beside a sampler."""
        return None

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch, unless it is the one in which the loader stands already.

        A run that is resumed at the end of an epoch gets no loader state from Lightning, only the number of the epoch.
        """
        if epoch != self.epoch:
            self.epoch, self.cursor = epoch, 0

    def order(self) -> Order:
        """The rows in this epoch's order."""
        if self.pool is not None:
            return Pools(self.store, self.pool, (self.seed, self.epoch) if self.shuffle else None)
        if not self.shuffle:
            return Whole(self.store, None)
        # Of several processes each takes only its part of a global batch.
        window = WINDOW if self.world == 1 else 0
        return Whole(self.store, torch.randperm(len(self.store), generator=generator(self.seed, self.epoch)), window)

    def __iter__(self) -> Iterator[Batch]:
        if self.cursor and not self._resumed:  # the last epoch was left before its end
            self.epoch, self.cursor = self.epoch + 1, 0
        self._resumed = False
        order, steps, total = self.order(), len(self), len(self.store)
        step = self.cursor
        while step < steps:
            start, stop = bounds(total, steps, step)
            first, last = bounds(stop - start, self.world, self.rank)
            # The cursor moves before the batch is handed out: a checkpoint made while it is used counts it as seen.
            step += 1
            self.epoch, self.cursor = (self.epoch + 1, 0) if step == steps else (self.epoch, step)
            yield order.batch(start + first, start + last)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: the epoch and the steps of it that were handed out."""
        plan = {"rows": len(self.store), "steps": len(self), "pool": self.pool}
        return {"seed": self.seed, "epoch": self.epoch, "cursor": self.cursor, **plan}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`: the next iteration yields the rows that are left.

        Raises:
            DataError: If the Store has another number of rows or, in mid-epoch, the order or the steps are others.
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
        if state["cursor"] and state["steps"] != len(self):
            raise DataError(
                f"saved in mid-epoch of {state['steps']} steps, resumed with {len(self)} steps",
                "resume with the same batch size × processes",
            )
        self.seed, self.epoch, self.cursor = state["seed"], state["epoch"], state["cursor"]
        self._resumed = True
