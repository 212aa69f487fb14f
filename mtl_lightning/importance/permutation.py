"""Batches in which some features have the values of other rows."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.data.store.store import Store

ALWAYS = ("ids", "dense", "labels", "mask")
"""Parts that every batch takes."""


def batches(
    store: Store, size: int, features: Collection[str] = (), order: Tensor | None = None
) -> Iterator[Batch]:  # fmt: skip
    """Yield the rows of a Store in their order, with some features taken from other rows.

    Everything else stays: other features, labels, weights, groups and raw columns. A history is taken as a whole, with
    the time from its events to the row that they belong to.

    Args:
        store: The rows.
        size: Rows of a batch.
        features: Names of the features to permute; each is in the Store's schema.
        order: For each row, the row whose values it gets, [N] int64.

    Example:
        >>> import torch
        >>> from mtl_lightning.schema import Field, Schema
        >>> fields = [Field(name=name, kind="categorical", size=9, table=name) for name in ("user", "item")]
        >>> ids, empty = torch.tensor([[2, 5], [3, 6], [4, 7]]), torch.zeros(3, 0)
        >>> store = Store(Schema(tuple(fields), ()), {"ids": ids, "dense": empty, "labels": empty, "mask": empty})
        >>> [batch.ids.tolist() for batch in batches(store, 2, ["item"], torch.tensor([2, 0, 1]))]
        [[[2, 7], [3, 5]], [[4, 6]]]
    """
    parts = {name: part for name, part in store.parts.items() if name in ALWAYS or _feature(name) in features}
    others = Store(store.schema, parts, events=store.events) if store.requests is None else store
    for start in range(0, len(store), size):
        rows = slice(start, start + size)
        batch = store.batch(rows)
        yield batch if order is None else _exchange(batch.expand(), others.batch(order[rows]).expand(), features)


def _feature(part: str) -> str:
    """Feature that a part of a Store belongs to alone; empty for shared parts and raw columns."""
    prefix, _, name = part.partition("/")
    return "" if prefix == "raw" else name


def _exchange(batch: Batch, other: Batch, features: Collection[str]) -> Batch:
    """The batch with some features of another one."""
    columns: dict[str, Any] = {}
    for name, places in (("ids", batch.schema.id_columns), ("dense", batch.schema.dense_columns)):
        own = getattr(batch, name).clone()  # a view of the Store
        chosen = [places[feature] for feature in features if feature in places]
        own[:, chosen] = getattr(other, name)[:, chosen]
        columns[name] = own
    for part in ("sequences", "steps", "vectors"):
        taken = {name: values for name, values in getattr(other, part).items() if name in features}
        columns[part] = getattr(batch, part) | taken
    return replace(batch, **columns)
