"""Categorical features: ids by a vocabulary."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.arrow.keys import keys
from mtl_lightning.data.features.base import Accumulator, TokenFeature, Transform, check, check_expression
from mtl_lightning.data.features.dictionary_codes import DictionaryCache
from mtl_lightning.data.features.state_structure import SavedEmptyState, SavedVocabulary
from mtl_lightning.data.features.vocabulary import Counter, Vocabulary
from mtl_lightning.schema import Field


class VocabularyFeature(TokenFeature):
    """Base of features with a vocabulary."""

    __slots__ = ()
    min_count: int
    max_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical(VocabularyFeature):
    """Values that are looked up in a vocabulary: ids, names or codes of any type.

    Args:
        column: Raw column; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        min_count: A value must occur this often in the training split to be in the vocabulary.
        max_size: Largest number of values in the vocabulary, which keeps the most frequent ones; None for all.

    Raises:
        DataError: If an option is out of range.

    Example:
        >>> Categorical(column="user_id", min_count=5).columns("user")
        ('user_id',)
    """

    kind: ClassVar[str] = "categorical"
    makes: ClassVar[str] = "categorical"
    column: str | None = None
    expression: str | None = None
    min_count: int = 1
    max_size: int | None = None

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        check_vocabulary(self.min_count, self.max_size)

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "CategoricalTransform":
        return CategoricalTransform(name, self)


def check_vocabulary(min_count: int, max_size: int | None) -> None:
    """Check the options of a vocabulary.

    Raises:
        DataError: If one is out of range.
    """
    check(min_count >= 1, f"min_count is {min_count}", "at least 1")
    check(max_size is None or max_size >= 1, f"max_size is {max_size}", "at least 1")


class SharedVocabulary:
    """A vocabulary that one feature owns and sequence features may share.

    Args:
        name: Name of the embedding table.
        min_count: See :class:`Categorical`.
        max_size: See :class:`Categorical`.
    """

    def __init__(self, name: str, min_count: int, max_size: int | None) -> None:
        self.name = name
        self.min_count = min_count
        self.max_size = max_size
        self._counter: Counter | None = Counter()
        self._dictionaries = DictionaryCache(name)
        self._lock = threading.Lock()  # columns are observed in parallel
        self._vocabulary: Vocabulary | None = None
        self.known: Vocabulary | None = None
        """Vocabulary of an earlier fit, which keeps its ids; see :mod:`mtl_lightning.data.preparation.growth`."""

    def add(self, values: pa.Array, name: str) -> None:
        """Count the values of a column; a dictionary's values are read once.

        Args:
            values: Values, [N], plain or dictionary-encoded.
            name: Name of the column, for messages.
        """
        with self._lock:
            assert self._counter is not None
            if pa.types.is_dictionary(values.type):
                self._dictionaries.add(values, self._counter)
            else:
                self._counter.add(keys(values, name))

    def ids(self, values: pa.Array, name: str) -> np.ndarray:
        """Return the ids of a column's values, [N] int32.

        Args:
            values: Values, [N], plain or dictionary-encoded.
            name: Name of the column, for messages.
        """
        if pa.types.is_dictionary(values.type):
            return self._dictionaries.ids(values, self.vocabulary)
        return self.vocabulary.ids(keys(values, name))

    def record(self) -> None:
        """Forget all counts."""
        self._counter = Counter()
        self._dictionaries.forget()

    def partial(self) -> tuple[pa.Array, pa.Array]:
        """Return the keys and their counts."""
        assert self._counter is not None
        self._dictionaries.drain(self._counter)
        self._dictionaries.forget()
        return self._counter.partial()

    def merge(self, partial: tuple[pa.Array, pa.Array]) -> None:
        """Add the counts of other blocks; their order does not matter."""
        assert self._counter is not None
        self._counter.merge(partial)

    def __getstate__(self) -> dict[str, Any]:
        # Dictionaries are recognised by their address in memory, which differs in a copy.
        with self._lock:
            if self._counter is not None:
                self._dictionaries.drain(self._counter)
                self._dictionaries.forget()
            return {**self.__dict__, "_dictionaries": DictionaryCache(self.name), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def forget(self) -> None:
        """Release the cached dictionaries; later encodings are unaffected."""
        self._dictionaries.forget()

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary, fitted on first access."""
        with self._lock:
            if self._vocabulary is None:
                assert self._counter is not None
                self._dictionaries.drain(self._counter)
                self._vocabulary = Vocabulary.fit(self._counter, self.min_count, self.max_size, self.known)
                self._dictionaries.look_up(self._vocabulary)
                self._counter = None
            return self._vocabulary

    @vocabulary.setter
    def vocabulary(self, vocabulary: Vocabulary) -> None:
        self._vocabulary, self._counter = vocabulary, None


class VocabularyTransform(Transform):
    """Base of transforms with a vocabulary, which is their state unless another feature owns it.

    Args:
        name: Name of the feature.
        feature: Its options, including the options of a vocabulary.
        shared: Vocabulary of another feature, or None.
    """

    def __init__(self, name: str, feature: VocabularyFeature, shared: SharedVocabulary | None = None) -> None:
        self.name = name
        self.reader = feature.reader(name)
        self.column = self.reader.name
        self.shares = shared is not None
        self.table = shared or SharedVocabulary(name, feature.min_count, feature.max_size)
        self.saved = SavedEmptyState if self.shares else SavedVocabulary

    @override
    def finish(self) -> None:
        """Do nothing: the vocabulary is fitted on first access."""

    def accumulators(self) -> list[Accumulator]:
        """Return the vocabulary, unless it is shared."""
        return [] if self.shares else [self.table]

    def grow(self, state: Mapping[str, Any]) -> None:
        """Keep the ids of an earlier fit's state; new values get ids after them."""
        if not self.shares:
            self.table.known = Vocabulary.from_dict(state)

    @override
    def state(self) -> dict[str, Any]:
        """Return the vocabulary; empty if it is shared."""
        return {} if self.shares else self.table.vocabulary.to_dict()

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        if not self.shares:
            self.table.vocabulary = Vocabulary.from_dict(state)


class CategoricalTransform(VocabularyTransform):
    """Ids by a fitted vocabulary."""

    @override
    def observe(self, block: Block) -> None:
        for values in self.reader.chunks(block):
            self.table.add(values, self.column)

    @override
    def field(self) -> Field:
        return Field(name=self.name, kind="categorical", size=self.table.vocabulary.size, table=self.table.name)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as ids, [B] int32."""
        return np.concatenate([self.table.ids(values, self.column) for values in self.reader.chunks(block)])

    def forget(self) -> None:
        """Release caches; later encodings are unaffected."""
        self.table.forget()
