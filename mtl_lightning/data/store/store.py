"""Encoded rows as a few packed, memory-mapped matrices; a batch takes one gather per matrix."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.events import Events
from mtl_lightning.data.store.listed_steps import listed_steps
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Schema

META = "store.json"
"""File with the number of rows and the shape and type of each matrix."""
DTYPES = {
    "ids": "int32",
    "dense": "float32",
    "labels": "float32",
    "mask": "bool",
    "weight": "float32",
    "group": "int64",
    "request": "int64",
}
"""Type on disk of each matrix that every Store may have."""
PREFIXES = {"sequence": "int32", "vector": "float32", "raw": "float64", "history": "int64", "listed": "int32"}
"""Type on disk of the matrices named ``<prefix>/<feature>``."""
REQUESTS = "requests"
"""Folder in a Store with the values that are constant within a request, a row per request."""
PACKED = {"ids": "categorical", "dense": "numeric"}
"""Kind of the fields whose values are the columns of a matrix."""


def dtype_of(part: str) -> str:
    """Type on disk of a matrix.

    Example:
        >>> dtype_of("ids"), dtype_of("raw/p_click")
        ('int32', 'float64')
    """
    return DTYPES.get(part) or PREFIXES[part.split("/", 1)[0]]


class Store:
    """Rows of one split.

    Args:
        schema: Fitted schema.
        parts: Matrices by name: ``ids`` [N, C], ``dense`` [N, F], ``labels`` [N, ΣK], ``mask`` [N, T]. Optional are
            ``weight`` [N, T], ``group`` [N] and ``request`` [N], the number of each row's request. Of features:
            ``sequence/<name>`` [N, L], ``vector/<name>`` [N, d], ``raw/<name>`` [N],
            ``history/<name>`` [N, 1], the slice of each row's events, or [N, 2] with the row's time for their gaps (see
            :func:`~mtl_lightning.data.store.events.row_part`).
        path: Directory of the files; None for rows in memory.
        events: Events of each history, which all splits share.
        requests: Values that are constant within a request, for R requests; the rows lack them. Needs ``request``.

    Example:
        >>> from mtl_lightning.schema import Field
        >>> schema = Schema((Field(name="user", kind="categorical", size=4, table="user"),), ())
        >>> empty = torch.zeros(3, 0)
        >>> store = Store(schema, {"ids": torch.tensor([[1], [2], [3]], dtype=torch.int32), "dense": empty,
        ...                        "labels": empty, "mask": empty.bool()})
        >>> store.batch(torch.tensor([2, 0])).ids.tolist()
        [[3], [1]]
    """

    def __init__(
        self,
        schema: Schema,
        parts: Mapping[str, Tensor],
        path: Path | None = None,
        events: Mapping[str, Events] = MappingProxyType({}),
        requests: "Store | None" = None,
    ) -> None:
        self.schema = schema
        self.parts = dict(parts)
        self.path = path
        self.events = dict(events)
        self.requests = requests

    @classmethod
    def open(
        cls, path: Path, schema: Schema, events: Mapping[str, Events] = MappingProxyType({}), *, grouped: bool = True
    ) -> Self:
        """Map a Store written by :class:`~mtl_lightning.data.store.writer.StoreWriter`; rows are read on use.

        Args:
            path: Directory of the Store.
            schema: Fitted schema.
            events: Events of each history.
            grouped: Whether rows with requests are stored apart from what their requests share.

        Raises:
            DataError: If the Store is missing or damaged.
        """
        try:
            meta = json.loads((path / META).read_text())
            parts = {name: _map(path / part["file"], part, meta["rows"]) for name, part in meta["parts"].items()}
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: not a complete Store ({error})", "remove it; it is prepared again") from error
        requests = cls.open(path / REQUESTS, schema, events) if grouped and "request" in parts else None
        return cls(schema, parts, path, events, requests)

    def __len__(self) -> int:
        return int(self.parts["ids"].shape[0])

    @property
    def bytes(self) -> int:
        """Size of all matrices in bytes."""
        own = sum(part.numel() * part.element_size() for part in self.parts.values())
        return own + (0 if self.requests is None else self.requests.bytes)

    def take(self, index: Tensor | slice) -> "Store":
        """Rows at ``index``, in its order: a copy in memory, or a view if ``index`` is a slice."""
        parts = self._parts_at(index)
        if self.requests is None:
            return Store(self.schema, parts, events=self.events)
        numbers, parts["request"] = torch.unique_consecutive(parts["request"], return_inverse=True)
        adjacent = len(numbers) > 0 and bool((numbers.diff() == 1).all())
        requests = self.requests.take(slice(int(numbers[0]), int(numbers[-1]) + 1) if adjacent else numbers)
        return Store(self.schema, parts, events=self.events, requests=requests)

    def _parts_at(self, index: Tensor | slice) -> dict[str, Tensor]:
        return {name: _take(part, index) for name, part in self.parts.items()}

    def expanded(self) -> Self:
        """The same rows without requests, in memory: every matrix has N rows."""
        if self.requests is None:
            return self
        parts = dict(self.parts)
        shared = self.requests.take(parts.pop("request")).parts
        packed = {name: self._packed(name, parts[name], shared[name]) for name in PACKED}
        return type(self)(self.schema, {**parts, **shared, **packed}, events=self.events)

    def _packed(self, name: str, own: Tensor, shared: Tensor) -> Tensor:
        """A matrix with the columns of rows and of their requests in the schema's order."""
        pieces, start = [], {False: 0, True: 0}
        for per_request, columns in groupby(field.per_request for field in self.schema.of_kind(PACKED[name])):
            first = start[per_request]
            start[per_request] = last = first + len(list(columns))
            pieces.append((shared if per_request else own)[:, first:last])
        return torch.cat(pieces, 1) if pieces else own

    def read(self, ranges: Sequence[tuple[int, int]]) -> "Store":
        """Read ranges of rows into memory, in the given order.

        Files are read, not mapped: pages of a mapped file would count as memory of the process after use.

        Args:
            ranges: Start and end (excluded) of each range.

        Raises:
            DataError: If the Store's files can't be read.
        """
        if self.path is None:
            stores = [self.take(slice(0, 0)), *(self.take(slice(start, stop)) for start, stop in ranges)]
            return Store.concatenate(self.schema, stores)
        try:
            parts = {name: self._read(name, ranges) for name in self.parts}
            requests = None
            if self.requests is not None:
                numbers, parts["request"] = torch.unique_consecutive(parts["request"], return_inverse=True)
                requests = self.requests.read(_ranges(numbers))
            return Store(self.schema, parts, events=self.events, requests=requests)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path} can't be read: {error}", "remove it; it is prepared again") from error

    def _read(self, name: str, ranges: Sequence[tuple[int, int]]) -> Tensor:
        assert self.path is not None
        shape = self.parts[name].shape[1:]
        result = np.empty((sum(stop - start for start, stop in ranges), *shape), dtype=dtype_of(name))
        if result.size:
            place, width = 0, result[:1].nbytes
            with (self.path / file_of(name)).open("rb", buffering=0) as file:
                for start, stop in ranges:
                    file.seek(start * width)
                    view = result[place : place + stop - start].reshape(-1).view(np.uint8).data
                    while len(view):
                        count = file.readinto(view)
                        if not count:
                            raise ValueError(f"{file_of(name)} is truncated")
                        view = view[count:]
                    place += stop - start
        return torch.from_numpy(result)

    @classmethod
    def concatenate(cls, schema: Schema, stores: Sequence["Store"]) -> Self:
        """The rows of several Stores, one after the other, in memory."""
        first = stores[0]
        if len(stores) == 1:
            return cls(schema, first.parts, events=first.events, requests=first.requests)
        parts = {name: torch.cat([store.parts[name] for store in stores]) for name in first.parts}
        shared = [store.requests for store in stores if store.requests is not None]
        if not shared:
            return cls(schema, parts, events=first.events)
        starts = np.cumsum([0, *map(len, shared)]).tolist()
        parts["request"] = torch.cat(
            [store.parts["request"] + start for store, start in zip(stores, starts, strict=False)]
        )
        return cls(schema, parts, events=first.events, requests=cls.concatenate(schema, shared))

    def batch(self, index: Tensor | slice) -> Batch:
        """The batch of the rows at ``index`` ([B] int64, or a slice), in its order."""
        rows = self.take(index)
        if rows.requests is None:
            return self.packed(rows.parts)
        request_row = torch.searchsorted(rows.parts["request"], torch.arange(len(rows.requests)))
        return self.packed(rows.parts, rows.requests.parts, request_row)

    def packed(
        self,
        parts: Mapping[str, Tensor],
        shared: Mapping[str, Tensor] | None = None,
        request_row: Tensor | None = None,
        widths: Mapping[str, int] = MappingProxyType({}),
    ) -> Batch:
        """The batch of rows of this Store.

        Args:
            parts: Matrices of B rows; ``request`` has the place of each row's request in the batch.
            shared: Matrices of the R requests of the batch; None for a Store without requests.
            request_row: A row of each request, [R].
            widths: Number of steps of each history, padding included; missing ones are read from the rows.
        """
        named: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in PREFIXES}
        plain, wide = ({name: part for name, part in parts.items() if ("/" in name) is w} for w in (False, True))
        if shared is not None:
            plain |= {
                name: self._packed(name, plain[name], shared[name].index_select(0, plain["request"])) for name in PACKED
            }
            wide |= {name: part for name, part in shared.items() if name not in PACKED}
        for name, part in wide.items():
            prefix, _, rest = name.partition("/")
            named[prefix][rest] = part.long() if prefix == "sequence" else part
        return Batch(
            schema=self.schema,
            ids=plain["ids"].long(),
            dense=plain["dense"],
            labels=plain["labels"],
            mask=plain["mask"],
            sequences=named["sequence"],
            steps={
                **{name: self.events[name].steps(part, widths.get(name)) for name, part in named["history"].items()},
                **{
                    name: listed_steps(part, self.schema.field(name), widths.get(name))
                    for name, part in named["listed"].items()
                },
            },
            vectors=named["vector"],
            weight=plain.get("weight"),
            group=plain.get("group"),
            raw=named["raw"],
            request=plain.get("request"),
            request_row=request_row,
        )


def _ranges(numbers: Tensor) -> list[tuple[int, int]]:
    """Start and end (excluded) of each run of numbers that follow each other.

    Example:
        >>> _ranges(torch.tensor([4, 5, 9]))
        [(4, 6), (9, 10)]
    """
    if not len(numbers):
        return []
    ends = [*(torch.nonzero(numbers.diff() != 1).flatten() + 1).tolist(), len(numbers)]
    first = numbers[[0, *ends[:-1]]].tolist()
    return list(zip(first, (numbers[[end - 1 for end in ends]] + 1).tolist(), strict=True))


def _take(part: Tensor, index: Tensor | slice) -> Tensor:
    return part[index] if isinstance(index, slice) else part.index_select(0, index)


def _map(path: Path, part: Mapping[str, Any], rows: int) -> Tensor:
    shape = (rows, *part["shape"])
    if 0 in shape:
        return torch.from_numpy(np.zeros(shape, dtype=part["dtype"]))
    # Copy-on-write: torch requires writable memory, and the file must not change.
    return torch.from_numpy(np.memmap(path, dtype=part["dtype"], mode="c", shape=shape))


def file_of(name: str) -> str:
    """Name of a matrix's file.

    Example:
        >>> file_of("ids"), file_of("raw/p")
        ('ids.bin', 'raw-70.bin')
    """
    # A feature's name may hold any character, so files are named by its hexadecimal form.
    prefix, _, rest = name.partition("/")
    return f"{prefix}-{rest.encode().hex()}.bin" if rest else f"{prefix}.bin"
