"""Categorical features: ids by vocabulary."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import Block, column_chunks
from mtl_lightning.data.arrow.keys import keys
from mtl_lightning.data.features.base import Alone, Transform, check
from mtl_lightning.data.features.dictionary_codes import Dictionaries
from mtl_lightning.data.features.saved import SavedVocabulary
from mtl_lightning.data.features.vocabulary import Counter, Vocabulary
from mtl_lightning.schema import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical(Alone):
    """Values that are looked up: ids, names, codes of any type.

    Args:
        column: Raw column; the feature's name if None.
        min_count: A value must occur this often in the training split to be in the vocabulary.
        max_size: At most this many values are kept, the most frequent ones; None for all.

    Raises:
        DataError: If an option is out of range.

    Example:
        >>> Categorical(column="user_id", min_count=5).columns("user")
        ('user_id',)
    """

    kind: ClassVar[str] = "categorical"
    makes: ClassVar[str] = "categorical"
    column: str | None = None
    min_count: int = 1
    max_size: int | None = None

    def __post_init__(self) -> None:
        check_vocabulary(self.min_count, self.max_size)

    def tokens(self, name: str) -> tuple[str, ...]:
        """Its column."""
        return self.columns(name)

    def build(self, name: str, others: Mapping[str, Transform]) -> "CategoricalTransform":
        """Its transform."""
        return CategoricalTransform(name, self)


def check_vocabulary(min_count: int, max_size: int | None) -> None:
    """Check the options of a vocabulary."""
    check(min_count >= 1, f"min_count is {min_count}", "at least 1")
    check(max_size is None or max_size >= 1, f"max_size is {max_size}", "at least 1")


class Table:
    """A vocabulary that one feature owns and sequences may share.

    Args:
        name: Name of the embedding table.
        min_count: See :class:`Categorical`.
        max_size: Likewise.
    """

    def __init__(self, name: str, min_count: int, max_size: int | None) -> None:
        self.name = name
        self.min_count = min_count
        self.max_size = max_size
        self._counter: Counter | None = Counter()
        self._dictionaries = Dictionaries(name)
        self._lock = threading.Lock()  # columns are observed in parallel
        self._vocabulary: Vocabulary | None = None
        self.known: Vocabulary | None = None
        """What an earlier fit knew; see :mod:`mtl_lightning.data.preparation.growth`."""

    def add(self, values: pa.Array, name: str) -> None:
        """Count a column's values; each value of a dictionary is looked at once."""
        with self._lock:
            assert self._counter is not None
            if pa.types.is_dictionary(values.type):
                self._dictionaries.add(values, self._counter)
            else:
                self._counter.add(keys(values, name))

    def ids(self, values: pa.Array, name: str) -> np.ndarray:
        """Ids of a column's values, int32."""
        if pa.types.is_dictionary(values.type):
            return self._dictionaries.ids(values, self.vocabulary)
        return self.vocabulary.ids(keys(values, name))

    def __getstate__(self) -> dict[str, Any]:
        # Dictionaries are known by their place in memory, which a copy does not share.
        with self._lock:
            if self._counter is not None:
                self._dictionaries.drain(self._counter)
                self._dictionaries.forget()
            return {**self.__dict__, "_dictionaries": Dictionaries(self.name), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def forget(self) -> None:
        """Give back what it remembers of blocks that are encoded again soon after they were counted."""
        self._dictionaries.forget()

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary, fitted when it is asked for first."""
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


class CategoricalTransform:
    """A fitted vocabulary.

    Args:
        name: The feature's name.
        feature: Its options.
    """

    saved: ClassVar[Any] = SavedVocabulary

    def __init__(self, name: str, feature: Categorical) -> None:
        self.name = name
        self.column = feature.columns(name)[0]
        self.table = Table(name, feature.min_count, feature.max_size)

    def observe(self, block: Block) -> None:
        """Count."""
        for values in column_chunks(block, self.column):
            self.table.add(values, self.column)

    def finish(self) -> None:
        """The vocabulary is fitted on first use."""

    def field(self) -> Field:
        """A categorical field with a table of its own."""
        return Field(name=self.name, kind="categorical", size=self.table.vocabulary.size, table=self.table.name)

    def encode(self, block: Block) -> np.ndarray:
        """Ids, [B] int32."""
        return np.concatenate([self.table.ids(values, self.column) for values in column_chunks(block, self.column)])

    def forget(self) -> None:
        """Give back what only helps while a log is prepared."""
        self.table.forget()

    def grow(self, state: Mapping[str, Any]) -> None:
        """Keep the ids of an earlier vocabulary."""
        self.table.known = Vocabulary.from_dict(state)

    def state(self) -> dict[str, Any]:
        """The vocabulary."""
        return self.table.vocabulary.to_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        """The vocabulary."""
        self.table.vocabulary = Vocabulary.from_dict(state)
