"""Sequence features: several values per row, such as a user's earlier items, the latest last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.lists import flatten, pad
from mtl_lightning.data.features.base import ColumnFeature, Feature, Transform, check, check_expression
from mtl_lightning.data.features.categorical import (
    Categorical,
    CategoricalTransform,
    SharedVocabulary,
    VocabularyFeature,
    VocabularyTransform,
    check_vocabulary,
)
from mtl_lightning.data.features.numeric import NUMERIC_TRANSFORMS
from mtl_lightning.data.features.parallel_lists import ParallelListsTransform
from mtl_lightning.errors import did_you_mean
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
        admit: As for :class:`~mtl_lightning.data.features.categorical.Categorical`; only without ``of``.
        expire: As for :class:`~mtl_lightning.data.features.categorical.Categorical`; only without ``of``.
        evict: As for :class:`~mtl_lightning.data.features.categorical.Categorical`; only without ``of``.
        time: As for :class:`~mtl_lightning.data.features.categorical.Categorical`; only without ``of``.
        with_: Columns with parallel lists (``with`` in a recipe): a name for ids, ``{column: transform}`` for numbers,
            with the transforms of :class:`~mtl_lightning.data.features.numeric.Numeric`.
        weights: Column with a parallel list of weights, at least 0; encoders weigh the steps by them.
        weight_separator: Character between an id and its weight in text, such as ``:`` in ``k1:0.3|k2:0.7``.

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
    admit: int | None = None
    expire: float | str | None = None
    evict: bool = False
    time: str | None = None
    with_: tuple[str | dict[str, str], ...] = ()
    weights: str | None = None
    weight_separator: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "with_", tuple(self.with_))
        for transform in self.numbers.values():
            hint = did_you_mean(str(transform), NUMERIC_TRANSFORMS) or f"one of {', '.join(NUMERIC_TRANSFORMS)}"
            check(transform in NUMERIC_TRANSFORMS, f"with: no transform {transform!r}", hint)
        names = [
            *([self.column] if self.column else []),
            *self.ids,
            *self.numbers,
            *([self.weights] if self.weights else []),
        ]
        twice = next((name for name in names if names.count(name) > 1), None)
        check(twice is None, f"with: {twice!r} is listed twice", "list each column once")
        both = self.weights is not None and self.weight_separator is not None
        check(not both, "weights and weight_separator are both set", "weights are in a column or in the text")
        check(self.weight_separator != "", "weight_separator is empty")
        check(self.weight_separator != self.separator, "weight_separator is also the separator")
        check_expression(self.column, self.expression)
        check(self.length >= 1, f"length is {self.length}", "at least 1")
        check(bool(self.separator), "separator is empty")
        check_vocabulary(self)
        owned = self.of is None or self.lifetime is None
        check(owned, "admit, expire and evict are set with of", f"set them for the feature {self.of!r}")

    @property
    def ids(self) -> tuple[str, ...]:
        """Columns with further ids of a step."""
        return tuple(carried for carried in self.with_ if isinstance(carried, str))

    @property
    def numbers(self) -> dict[str, str]:
        """Transform of each column with a number of a step."""
        return {name: kind for carried in self.with_ if isinstance(carried, Mapping) for name, kind in carried.items()}

    @property
    def carries_more(self) -> bool:
        """True if a step has more than an id; the field is then of the kind ``history``."""
        return bool(self.with_) or self.weights is not None or self.weight_separator is not None

    @override
    def columns(self, name: str) -> tuple[str, ...]:
        """Return the columns of the ids, of what steps carry, and of weights."""
        weights = () if self.weights is None else (self.weights,)
        return tuple(dict.fromkeys([*self.main_columns(name), *self.ids, *self.numbers, *weights]))

    def main_columns(self, name: str) -> tuple[str, ...]:
        """Return the column of the main ids, or the columns of its expression."""
        return ColumnFeature.columns(self, name)

    @override
    def tokens(self, name: str) -> tuple[str, ...]:
        """Return the columns of ids; an expression reads numbers as numbers."""
        return (*(self.main_columns(name) if self.expression is None else ()), *self.ids)

    @override
    def needs(self) -> tuple[str, ...]:
        return (self.of,) if self.of else ()

    @override
    def refuses(self, other: Feature) -> str:
        """Refuse features without a vocabulary."""
        return "" if isinstance(other, Categorical) else f"is {other.kind}"

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> Transform:
        owner = others[self.of] if self.of else None
        assert owner is None or isinstance(owner, CategoricalTransform)
        if self.carries_more:
            return ParallelListsTransform(name, self, owner.table if owner else None)
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
        times = self.table.moments(block)
        self.table.add(flat.values, self.column, None if times is None else times[flat.rows])

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
