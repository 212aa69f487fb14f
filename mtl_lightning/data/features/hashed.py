"""Hashed features: ids without a vocabulary, for columns that keep getting new values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.hashing import hash_keys
from mtl_lightning.data.arrow.keys import keys
from mtl_lightning.data.features.base import (
    ColumnTransform,
    StatelessTransform,
    TokenFeature,
    Transform,
    check,
    check_expression,
)
from mtl_lightning.data.features.vocabulary import FIRST, LARGEST
from mtl_lightning.schema import PADDING, Field


def check_size(size: int) -> None:
    """Check the number of hash buckets.

    Raises:
        DataError: If it is out of range.
    """
    check(1 <= size <= LARGEST, f"size is {size}", f"1 to {LARGEST}")


def bucket_ids(hashes: np.ndarray, size: int) -> np.ndarray:
    """Return the ids of hashes.

    Args:
        hashes: Hashes, [N] uint64.
        size: Number of ids.

    Returns:
        Ids between 2 and ``size`` + 1, [N] int32.

    Example:
        >>> bucket_ids(np.array([7, 11], dtype=np.uint64), 5).tolist()
        [4, 3]
    """
    return (hashes % np.uint64(size)).astype(np.int32) + np.int32(FIRST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed(TokenFeature):
    """Values that are hashed to a fixed number of ids; nothing is fitted, and no value is out of vocabulary.

    Args:
        column: Raw column; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        size: Number of ids. Of n distinct values, about n² / (2 size) pairs share an id.

    Raises:
        DataError: If the size is out of range.

    Example:
        >>> ids = Hashed(size=1000).build("user", {}).encode(pa.table({"user": ["a", "a", None]}))
        >>> bool(ids[0] == ids[1]), int(ids[2])
        (True, 0)
    """

    kind: ClassVar[str] = "hashed"
    makes: ClassVar[str] = "categorical"
    column: str | None = None
    expression: str | None = None
    size: int = 100_000

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        check_size(self.size)

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "HashedTransform":
        return HashedTransform(name, self)


class HashedTransform(ColumnTransform[Hashed], StatelessTransform):
    """Ids by the hashes of keys."""

    @override
    def field(self) -> Field:
        return Field(name=self.name, kind="categorical", size=self.feature.size + FIRST, table=self.name)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as ids, [B] int32."""
        values = keys(self.reader.read(block, as_written), self.column)
        ids = bucket_ids(hash_keys(values, self.column), self.feature.size)
        return np.where(missing(values), PADDING, ids).astype(np.int32)


def missing(values: pa.Array) -> np.ndarray:
    """Return True where a value is null, [N] bool."""
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False))
