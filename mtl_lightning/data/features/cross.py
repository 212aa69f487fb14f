"""Crosses: one id for a combination of values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.arrow.hashing import mix
from mtl_lightning.data.features.base import Feature, StatelessTransform, Transform, check
from mtl_lightning.data.features.hashed import bucket_ids, check_size
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.schema import PADDING, Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Cross(Feature):
    """A combination of categorical features (vocabularies, buckets, dates, hashes), hashed to a fixed number of ids.

    Args:
        of: Names of the features, two or more.
        size: Number of ids.

    Raises:
        DataError: If there are fewer than two features, or the size is out of range.

    Example:
        >>> Cross(of=("city", "hour")).needs()
        ('city', 'hour')
    """

    kind: ClassVar[str] = "cross"
    makes: ClassVar[str] = "categorical"
    of: tuple[str, ...]
    size: int = 100_000

    def __post_init__(self) -> None:
        if not isinstance(self.of, tuple):
            object.__setattr__(self, "of", tuple(self.of))
        check(len(self.of) >= 2, f"of is {list(self.of)}", "two features or more")
        check_size(self.size)

    @override
    def columns(self, name: str) -> tuple[str, ...]:
        """Return no columns: the features that it combines read theirs."""
        return ()

    @override
    def needs(self) -> tuple[str, ...]:
        return self.of

    @override
    def refuses(self, other: Feature) -> str:
        """Refuse features that do not make ids, and ones whose ids are renumbered: they would be in other buckets."""
        if other.makes != "categorical":
            return f"is {other.kind}"
        lifetime = getattr(other, "lifetime", None)
        leaves = lifetime is not None and lifetime.leaves
        return "has expire or evict, which renumber the ids that a cross hashes" if leaves else ""

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "CrossTransform":
        return CrossTransform(name, self, [others[other] for other in self.of])


class CrossTransform(StatelessTransform):
    """Hashes of tuples of ids; missing where any of the ids is missing.

    Args:
        name: Name of the feature.
        feature: Its options.
        parts: Transforms of the features that it combines.
    """

    def __init__(self, name: str, feature: Cross, parts: list[Transform]) -> None:
        self.name = name
        self.size = feature.size
        self.parts = parts

    @override
    def field(self) -> Field:
        return Field(name=self.name, kind="categorical", size=self.size + FIRST, table=self.name)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as ids, [B] int32."""
        hashes = np.zeros(block.num_rows, dtype=np.uint64)
        known = np.ones(block.num_rows, dtype=bool)
        for part in self.parts:
            ids = part.encode(block)
            known &= ids != PADDING
            hashes = mix(hashes + ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
        return np.where(known, bucket_ids(hashes, self.size), PADDING).astype(np.int32)
