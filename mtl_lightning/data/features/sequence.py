"""Sequence features: what a user did before, the latest last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.lists import flatten, pad
from mtl_lightning.data.features.base import Feature, Transform, check
from mtl_lightning.data.features.categorical import Categorical, CategoricalTransform, Table, check_vocabulary
from mtl_lightning.data.features.saved import SavedNothing, SavedVocabulary
from mtl_lightning.data.features.vocabulary import Vocabulary
from mtl_lightning.schema import PADDING, Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence(Feature):
    """Several values per row in the order of time, such as the items a user saw: a list column or delimited text.

    Args:
        column: Raw column; the feature's name if None.
        of: Categorical feature whose vocabulary and embedding table the values share; None for an own one.
        length: Number of values kept; of longer sequences the latest, which stand at the end.
        separator: Delimiter where the column holds text.
        min_count: As for :class:`~mtl_lightning.data.features.categorical.Categorical`; only with an own vocabulary.
        max_size: Likewise.

    Raises:
        DataError: If an option is out of range.

    Example:
        >>> Sequence(of="item", length=20).needs()
        ('item',)
    """

    kind: ClassVar[str] = "sequence"
    makes: ClassVar[str] = "sequence"
    column: str | None = None
    of: str | None = None
    length: int = 50
    separator: str = ","
    min_count: int = 1
    max_size: int | None = None

    def __post_init__(self) -> None:
        check(self.length >= 1, f"length is {self.length}", "at least 1")
        check(bool(self.separator), "separator is empty")
        check_vocabulary(self.min_count, self.max_size)

    def columns(self, name: str) -> tuple[str, ...]:
        """Its column, or the one called like the feature."""
        return (self.column or name,)

    def tokens(self, name: str) -> tuple[str, ...]:
        """Its column."""
        return self.columns(name)

    def needs(self) -> tuple[str, ...]:
        """The feature whose vocabulary it shares."""
        return (self.of,) if self.of else ()

    def refuses(self, other: Feature) -> str:
        """It shares vocabularies only."""
        return "" if isinstance(other, Categorical) else f"is {other.kind}"

    def build(self, name: str, others: Mapping[str, Transform]) -> "SequenceTransform":
        """Its transform."""
        owner = others[self.of] if self.of else None
        assert owner is None or isinstance(owner, CategoricalTransform)
        return SequenceTransform(name, self, owner.table if owner else None)


class SequenceTransform:
    """Padded ids by a vocabulary, shared or its own.

    Args:
        name: The feature's name.
        feature: Its options.
        shared: The vocabulary of another feature, or None.
    """

    def __init__(self, name: str, feature: Sequence, shared: Table | None) -> None:
        self.name = name
        self.column = feature.columns(name)[0]
        self.length = feature.length
        self.separator = feature.separator
        self.shares = shared is not None
        self.table = shared or Table(name, feature.min_count, feature.max_size)
        self.saved = SavedNothing if self.shares else SavedVocabulary

    def observe(self, block: Block) -> None:
        """Count the values of all steps."""
        flat = flatten(as_written(block, self.column), self.column, self.separator)
        self.table.add(flat.values, self.column)

    def finish(self) -> None:
        """The vocabulary is fitted on first use."""

    def field(self) -> Field:
        """A sequence field."""
        size = self.table.vocabulary.size
        return Field(name=self.name, kind="sequence", size=size, table=self.table.name, length=self.length)

    def encode(self, block: Block) -> np.ndarray:
        """Ids, [B, L] int32."""
        flat = flatten(as_written(block, self.column), self.column, self.separator)
        ids = self.table.ids(flat.values, self.column)
        known = ids != PADDING  # NaN in a list is missing, and padding stands on the right only
        return pad(ids[known], flat.rows[known], flat.total, self.length)

    def grow(self, state: Mapping[str, Any]) -> None:
        """Keep the ids of an earlier vocabulary, if it is its own."""
        if not self.shares:
            self.table.known = Vocabulary.from_dict(state)

    def state(self) -> dict[str, Any]:
        """The vocabulary, if it is its own."""
        return {} if self.shares else self.table.vocabulary.to_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        """The vocabulary, if it is its own."""
        if not self.shares:
            self.table.vocabulary = Vocabulary.from_dict(state)
