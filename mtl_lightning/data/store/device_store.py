"""Stores on a device: a batch is gathered where it is used, and only the numbers of its rows are sent."""

from collections.abc import Callable, Collection
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.events import Events, lengths, rounded
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Schema
from mtl_lightning.training.rows import HOST
from mtl_lightning.training.transfer import pack_batch

MOST_ROWS = 1 << 31
"""Number of rows from which on row numbers do not fit 32 bits, as which they are sent."""
SHARE = 0.5
"""Share of the free memory of a device that Stores may fill, one after the other."""
ALWAYS = ("ids", "dense", "labels", "mask")
"""Matrices that a batch always has."""
Place = Literal["auto", "device", "host"]


class RowNumbers(Store):
    """The numbers of a Store's rows in place of the rows: an order of it says which rows a batch has.

    Args:
        store: The Store.
        name: Name of the numbers in a batch's ``raw``; numbers of its requests are named ``request``.

    Example:
        >>> store = Store(Schema((), ()), dict.fromkeys(ALWAYS, torch.zeros(9, 1)))
        >>> RowNumbers(store).batch(torch.tensor([7, 2])).raw["row"].tolist()
        [7, 2]
    """

    def __init__(self, store: Store, name: str = "row") -> None:
        self.part = f"raw/{name}"
        parts = {part: values[:, :0] for part, values in store.parts.items() if part in ALWAYS}
        parts[self.part] = torch.zeros(1, dtype=torch.int64).expand(len(store))  # in place of an array of all numbers
        if store.requests is not None:
            parts["request"] = store.parts["request"]
        requests = None if store.requests is None else RowNumbers(store.requests, "request")
        super().__init__(Schema((), ()), parts, requests=requests)

    @override
    def _parts_at(self, index: Tensor | slice) -> dict[str, Tensor]:
        numbers = index if isinstance(index, Tensor) else torch.arange(*index.indices(len(self)))
        return {**super()._parts_at(index), self.part: numbers}


class DeviceStore:
    """A Store whose rows and events are on a device.

    Batches equal batches of the host after their transfer, bit for bit. Requests and longest histories of a batch are
    found on the host, which so waits for nothing.

    Args:
        store: The Store.
        device: Where its rows are copied to.
        events: Its events on the device.
        without: Parts that batches lack.

    Example:
        >>> parts = {"ids": torch.tensor([[4], [5], [6]], dtype=torch.int32), "dense": torch.zeros(3, 0)}
        >>> store = Store(Schema((), ()), parts | {"labels": torch.zeros(3, 0), "mask": torch.zeros(3, 0).bool()})
        >>> on_device = DeviceStore(store, torch.device("cpu"), {})
        >>> on_device.pack(on_device.rows.batch(torch.tensor([2, 0])))().ids.tolist()
        [[6], [4]]
    """

    def __init__(
        self, store: Store, device: torch.device, events: dict[str, Events], without: Collection[str] = ()
    ) -> None:
        self.device = device
        self.rows = RowNumbers(store)
        requests = None
        if store.requests is not None:
            requests = Store(store.schema, _sent(store.requests, device, without))
        self.store = Store(store.schema, _sent(store, device, without), events=events, requests=requests)
        self._lengths: dict[str, tuple[str, Tensor, int]] = {}
        for index, part in (("row", store), ("request", store.requests)):
            self._lengths |= {} if part is None else _lengths(part, index)

    def pack(self, plan: Batch) -> Callable[[], Batch]:
        """Pack the numbers of the rows of a batch, and return a function that sends them and gathers the batch.

        Args:
            plan: A batch of :attr:`rows`.
        """
        widths = {
            name: rounded(int(counts.index_select(0, plan.raw[index]).max()) if len(plan.raw[index]) else 0, longest)
            for name, (index, counts, longest) in self._lengths.items()
        }
        send = pack_batch(plan, self.device, training=False)

        def gather() -> Batch:
            sent = send()
            parts = _gathered(self.store, sent.raw["row"])
            if self.store.requests is None:
                return self.store.packed(parts, widths=widths)
            assert sent.request is not None
            shared = _gathered(self.store.requests, sent.raw["request"])
            return self.store.packed({**parts, "request": sent.request}, shared, sent.request_row, widths)

        return gather


class DeviceStores:
    """The Stores of a run that are on its device, and the events that they share.

    Args:
        device: The device.
        place: ``device`` for all Stores; ``auto`` for what fits in half of its free memory, and nothing on a CPU;
            ``host`` for none.

    Example:
        >>> DeviceStores(torch.device("cpu"), "auto").get("train", Store(Schema((), ()), {"ids": torch.zeros(1, 0)}))
    """

    def __init__(self, device: torch.device, place: Place) -> None:
        self.device, self.place = device, place
        self._events: dict[int, tuple[Events, Events]] = {}
        self._stores: dict[tuple[str, frozenset[str]], DeviceStore] = {}

    def get(self, name: str, store: Store, without: Collection[str] = ()) -> DeviceStore | None:
        """Return a Store on the device, after copying it there; None if its rows are gathered on the host.

        Args:
            name: Name of the Store among the Stores of the run.
            store: The Store.
            without: Parts that its batches lack.

        Raises:
            DataError: If it must be on the device, and is too large.
        """
        key = name, frozenset(without)
        if key not in self._stores:
            parts = [part for part_name, part in store.parts.items() if part_name not in (*without, "request")]
            parts += [] if store.requests is None else store.requests.parts.values()
            size = sum(part.numel() * part.element_size() for part in parts) + self._missing(store)
            if not self._holds(size, len(store)):
                return None
            self._stores[key] = DeviceStore(store, self.device, self._sent(store), without)
        return self._stores[key]

    def with_events(self, store: Store) -> Store:
        """The Store with its events on the device, where they fit; its batches gather them after their transfer.

        Args:
            store: A Store whose rows stay on the host.
        """
        longest = max((len(events) + events.length for events in store.events.values()), default=0)
        if not longest or self.place == "host" or not self._holds(self._missing(store), longest):
            return store
        events = self._sent(store)
        inner = store.requests
        requests = None if inner is None else Store(inner.schema, inner.parts, inner.path, events)
        return Store(store.schema, store.parts, store.path, events, requests)

    def _holds(self, size: int, rows: int) -> bool:
        """True if so many bytes, and the numbers of so many rows, may be on the device."""
        if self.place == "host" or (self.place == "auto" and self.device.type in HOST):
            return False
        free = free_memory(self.device)
        if rows < MOST_ROWS and (free is None or size <= free * (SHARE if self.place == "auto" else 1)):
            return True
        if self.place == "device":
            limit = f"{MOST_ROWS:,} rows or more" if rows >= MOST_ROWS else f"{size:,} bytes, and {free:,} free"
            raise DataError(f"data.resident: the device can't hold the rows: {limit}", "set data.resident=auto")
        return False

    def _missing(self, store: Store) -> int:
        """Bytes of a Store's events that are not on the device."""
        return sum(
            part.numel() * part.element_size()
            for events in store.events.values()
            if id(events) not in self._events
            for part in events.parts.values()
        )

    def _sent(self, store: Store) -> dict[str, Events]:
        return {name: self._send(events) for name, events in store.events.items()}

    def _send(self, events: Events) -> Events:
        if id(events) not in self._events:
            self._events[id(events)] = events, events.to(self.device)  # the first keeps its id in use
        return self._events[id(events)][1]


def free_memory(device: torch.device) -> int | None:
    """Free memory of a device in bytes, with what torch keeps for later tensors; None where torch can't say.

    Example:
        >>> free_memory(torch.device("cpu")) is None
        True
    """
    if device.type != "cuda":
        return None
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _sent(store: Store, device: torch.device, without: Collection[str]) -> dict[str, Tensor]:
    return {name: part.to(device) for name, part in store.parts.items() if name not in (*without, "request")}


def _gathered(store: Store, rows: Tensor) -> dict[str, Tensor]:
    return {name: part.index_select(0, rows) for name, part in store.parts.items()}


def _lengths(store: Store, index: str) -> dict[str, tuple[str, Tensor, int]]:
    """Numbers of steps of each history, on the host, with the name of their index in a plan, and the longest kept."""
    counted = {}
    for part, values in store.parts.items():
        prefix, _, name = part.partition("/")
        if prefix == "history":
            counts = lengths(values.numpy()).astype(np.int32)
            counted[name] = index, torch.from_numpy(counts), store.events[name].length
        elif prefix == "listed":
            counted[name] = index, values[:, 0].clone(), store.schema.field(name).length
    return counted
