"""Sequence features: several values per row, such as a user's earlier items, the latest last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.lists import flatten, pad
from mtl_lightning.data.features.base import Feature, Transform, check, check_expression
from mtl_lightning.data.features.categorical import (
    Categorical,
    CategoricalTransform,
    SharedVocabulary,
    VocabularyFeature,
    VocabularyTransform,
    check_vocabulary,
)
from mtl_lightning.schema import PADDING, Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence(VocabularyFeature):
    """Values in the order of time, such as the items that a user saw, from a list column or delimited text.

    Args:
        column: Raw column; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        of: Categorical feature whose vocabulary and embedding table the values share; None for a vocabulary of its
            own.
        length: Largest number of values; of longer sequences the last ones are kept.
        separator: Delimiter of values if the column holds text.
        min_count: As for :class:`~mtl_lightning.data.features.categorical.Categorical`; only without ``of``.
        max_size: As for :class:`~mtl_lightning.data.features.categorical.Categorical`; only without ``of``.

    Raises:
        DataError: If an option is out of range.

    Example:
        >>> Sequence(of="item", length=20).needs()
        ('item',)
    """

    kind: ClassVar[str] = "sequence"
    makes: ClassVar[str] = "sequence"
    column: str | None = None
    expression: str | None = None
    of: str | None = None
    length: int = 50
    separator: str = ","
    min_count: int = 1
    max_size: int | None = None

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        check(self.length >= 1, f"length is {self.length}", "at least 1")
        check(bool(self.separator), "separator is empty")
        check_vocabulary(self.min_count, self.max_size)

    @override
    def needs(self) -> tuple[str, ...]:
        return (self.of,) if self.of else ()

    @override
    def refuses(self, other: Feature) -> str:
        """Refuse features without a vocabulary."""
        return "" if isinstance(other, Categorical) else f"is {other.kind}"

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "SequenceTransform":
        owner = others[self.of] if self.of else None
        assert owner is None or isinstance(owner, CategoricalTransform)
        return SequenceTransform(name, self, owner.table if owner else None)


class SequenceTransform(VocabularyTransform):
    """Sequences of ids, padded at the end, by a vocabulary of its own or of another feature.

    Args:
        name: Name of the feature.
        feature: Its options.
        shared: Vocabulary of another feature, or None.
    """

    def __init__(self, name: str, feature: Sequence, shared: SharedVocabulary | None) -> None:
        super().__init__(name, feature, shared)
        self.length = feature.length
        self.separator = feature.separator

    @override
    def observe(self, block: Block) -> None:
        flat = flatten(self.reader.read(block, as_written), self.column, self.separator)
        self.table.add(flat.values, self.column)

    @override
    def field(self) -> Field:
        size = self.table.vocabulary.size
        return Field(name=self.name, kind="sequence", size=size, table=self.table.name, length=self.length)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as sequences of ids, [B, L] int32."""
        flat = flatten(self.reader.read(block, as_written), self.column, self.separator)
        ids = self.table.ids(flat.values, self.column)
        known = ids != PADDING  # NaN in a list is missing; padding is at the end only
        return pad(ids[known], flat.rows[known], flat.total, self.length)
