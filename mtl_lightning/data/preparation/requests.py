"""Stores of requests: rows keep what differs within a request, and what is constant has a row per request."""

import shutil
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl_lightning.data.cache.directory import writing
from mtl_lightning.data.preparation.request_keys import number_requests
from mtl_lightning.data.preparation.split import SPLITS
from mtl_lightning.data.preparation.split_reader import SplitReader
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.blocks import ROW
from mtl_lightning.data.store.store import PACKED, REQUESTS, Store
from mtl_lightning.data.store.writer import StoreWriter
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Schema

BLOCK = 1 << 17
"""Rows that are compared and written together."""


class Numbered(NamedTuple):
    """Rows of a split.

    Args:
        parts: Matrices of the Store, N rows each.
        keys: Key of each row's request, [N].
        number: Number of each row's request, [N].
        first: First row of each request, [R].
    """

    parts: dict[str, np.ndarray]
    keys: np.ndarray
    number: np.ndarray
    first: np.ndarray


def group_requests(path: Path, reader: SplitReader, transforms: Transforms) -> dict[str, Any]:
    """Rewrite the Stores of all splits so that values that are constant within a request are stored once.

    Args:
        path: Directory of the splits' Stores.
        reader: Reader of the rows, for places in messages.
        transforms: Fitted transforms; their ``per_request`` is set if it was not declared.

    Returns:
        Number of requests per split, and the features that are constant within a request.

    Raises:
        DataError: If a request is in two splits, no request has two training rows, nothing is constant, or a feature
            that is declared to be constant is not.
    """
    splits = {name: _numbered(Store.open(path / name, transforms.schema, grouped=False)) for name in SPLITS}
    _check_whole(splits, transforms)
    if len(splits["train"].first) == len(splits["train"].number):
        raise DataError(
            f"data.request: {_named(transforms)} differ in all training rows", "group rows by other columns"
        )
    places = places_of(transforms.schema, splits["train"].parts)
    differing = {name: _differing(numbered, set(map(_part, places.values()))) for name, numbered in splits.items()}
    if transforms.per_request is None:
        constant = [
            field
            for field, (part, column) in places.items()
            if all(rows[part][column] < 0 for rows in differing.values())
        ]
        if not constant:
            raise DataError("data.request: no feature is constant within a request", "leave data.request out")
        transforms.per_request = tuple(constant)
    for field in (name for name in transforms.per_request if name in places):
        part, column = places[field]
        for split, rows in differing.items():
            if rows[part][column] >= 0:
                raise _varies(field, split, int(rows[part][column]), splits[split], reader)
    for name, numbered in splits.items():
        _write(path / name, numbered, transforms.schema)
    counts = {name: len(numbered.first) for name, numbered in splits.items()}
    return {"requests": counts, "per_request": list(transforms.per_request)}


def _part(place: tuple[str, int]) -> str:
    return place[0]


def _numbered(store: Store) -> Numbered:
    parts = {name: part.numpy() for name, part in store.parts.items()}
    keys = np.array(parts.pop("request"))
    return Numbered(parts, keys, *number_requests(keys))


def _named(transforms: Transforms) -> str:
    return " and ".join(transforms.request)


def _check_whole(splits: Mapping[str, Numbered], transforms: Transforms) -> None:
    for (split, rows), (other, others) in combinations(splits.items(), 2):
        shared = np.intersect1d(rows.keys[rows.first], others.keys[others.first])
        if cut := int((shared >= 0).sum()):  # rows without a key are requests by themselves
            raise DataError(
                f"data.request: {cut} requests (rows with equal {_named(transforms)}) are in {split} and in {other}",
                "keep the rows of a request in one split, or choose another split than given",
            )


def places_of(schema: Schema, parts: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Matrix of a Store and its column of each field; fields of several columns have a matrix of their own, and 0.

    Example:
        >>> from mtl_lightning.schema import Field
        >>> fields = Field(name="user", kind="categorical"), Field(name="tags", kind="sequence")
        >>> places_of(Schema(fields, ()), {"sequence/tags": 0})
        {'user': ('ids', 0), 'tags': ('sequence/tags', 0)}
    """
    columns = {"categorical": ("ids", schema.id_columns), "numeric": ("dense", schema.dense_columns)}
    wide = {name.partition("/")[2]: name for name in parts if "/" in name and not name.startswith("raw/")}
    return {
        field.name: (columns[field.kind][0], columns[field.kind][1][field.name])
        if field.kind in columns
        else (wide[field.name], 0)
        for field in schema.fields
        if not field.tasks  # preferences of tasks are equal in all rows
    }


def _differing(rows: Numbered, names: set[str]) -> dict[str, np.ndarray]:
    """For each column of some matrices the first row that differs from the first row of its request, or -1."""
    differing = {
        name: np.full(part.shape[1] if name in PACKED else 1, -1) for name, part in rows.parts.items() if name in names
    }
    for name, first in differing.items():
        part = rows.parts[name]
        bits = part.view(np.dtype(f"i{part.dtype.itemsize}"))  # so that NaN equals NaN
        for start in range(0, len(part), BLOCK):
            block = slice(start, start + BLOCK)
            differs = bits[block] != bits[rows.first[rows.number[block]]]
            if name not in PACKED:
                differs = differs.any(axis=1, keepdims=True)
            new = np.where(differs.any(axis=0), start + differs.argmax(axis=0), -1)
            first[:] = np.where(first < 0, new, first)
            if (first >= 0).all():
                break
    return differing


def _varies(field: str, split: str, row: int, rows: Numbered, reader: SplitReader) -> DataError:
    """Error for a field that differs within a request, with the numbers of its rows in the source."""
    places, start = {}, 0
    for block in reader.of(split):
        for wanted in (int(rows.first[rows.number[row]]), row):
            if start <= wanted < start + block.num_rows:
                places[wanted] = block[ROW][wanted - start].as_py()
        start += block.num_rows
    first, other = places.values()
    return DataError(
        f"data.per_request: feature {field!r} differs between rows {first} and {other} of a request (split {split})",
        "remove it from data.per_request, or add a column to data.request",
    )


def _write(path: Path, rows: Numbered, schema: Schema) -> None:
    """Replace a Store by one with requests."""
    shared = {
        f"{kind}/{f.name}"
        for f in schema.fields
        if f.per_request
        for kind in ("sequence", "vector", "history", "listed")
    }
    flags = {
        name: np.array([field.per_request for field in schema.of_kind(kind)], dtype=bool)
        for name, kind in PACKED.items()
    }
    own = {name: part for name, part in rows.parts.items() if name not in shared}
    once = {name: part for name, part in rows.parts.items() if name in shared or name in PACKED}
    grouped, requests = path.with_name(f"{path.name}-grouped"), path.with_name(f"{path.name}-{REQUESTS}")
    with StoreWriter(grouped) as writer:
        for start in range(0, max(len(rows.number), 1), BLOCK):
            block = slice(start, start + BLOCK)
            parts = {name: part[block][:, ~flags[name]] if name in flags else part[block] for name, part in own.items()}
            writer.write({**parts, "request": rows.number[block]})
    with StoreWriter(requests) as writer:
        for start in range(0, max(len(rows.first), 1), BLOCK):
            taken = rows.first[start : start + BLOCK]
            writer.write(
                {name: part[taken][:, flags[name]] if name in flags else part[taken] for name, part in once.items()}
            )
    with writing(path):
        shutil.rmtree(path)
        grouped.replace(path)
        requests.replace(path / REQUESTS)
