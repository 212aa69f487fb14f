"""Hashed features: ids without a vocabulary, for values that never stop growing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.hashing import hash_keys
from mtl_lightning.data.arrow.keys import keys
from mtl_lightning.data.features.base import Alone, Stateless, Transform, check
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.schema import PADDING, Field

LARGEST = 2**31 - 1 - FIRST
"""Ids are kept as int32."""


def check_size(size: int) -> None:
    """Check the number of hash buckets."""
    check(1 <= size <= LARGEST, f"size is {size}", f"1 to {LARGEST}")


def bucket_ids(hashes: np.ndarray, size: int) -> np.ndarray:
    """Ids of 64-bit hashes, int32 from 2."""
    return (hashes % np.uint64(size)).astype(np.int32) + np.int32(FIRST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed(Alone):
    """Values that are hashed to a fixed number of ids: nothing is fitted, and nothing is out of vocabulary.

    Args:
        column: Raw column; the feature's name if None.
        size: Number of ids; with n distinct values about n² / (2 size) pairs share one.

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
    size: int = 100_000

    def __post_init__(self) -> None:
        check_size(self.size)

    def tokens(self, name: str) -> tuple[str, ...]:
        """Its column."""
        return self.columns(name)

    def build(self, name: str, others: Mapping[str, Transform]) -> "HashedTransform":
        """Its transform."""
        return HashedTransform(name, self)


class HashedTransform(Stateless):
    """Hashes keys.

    Args:
        name: The feature's name.
        feature: Its options.
    """

    def __init__(self, name: str, feature: Hashed) -> None:
        self.name = name
        self.column = feature.columns(name)[0]
        self.size = feature.size

    def field(self) -> Field:
        """A categorical field."""
        return Field(name=self.name, kind="categorical", size=self.size + FIRST, table=self.name)

    def encode(self, block: Block) -> np.ndarray:
        """Ids, [B] int32."""
        values = keys(as_written(block, self.column), self.column)
        ids = bucket_ids(hash_keys(values, self.column), self.size)
        return np.where(missing(values), PADDING, ids).astype(np.int32)


def missing(values: pa.Array) -> np.ndarray:
    """True where a value is null."""
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False))
