"""Categorical features: ids by a vocabulary."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block, plain
from mtl_lightning.data.arrow.keys import keys
from mtl_lightning.data.features.base import Accumulator, TokenFeature, Transform, check, check_expression
from mtl_lightning.data.features.dictionary_codes import DictionaryCache
from mtl_lightning.data.features.lifetimes import Lifetime, Usage, seconds_of, turn_over
from mtl_lightning.data.features.state_structure import SavedEmptyState, SavedVocabulary
from mtl_lightning.data.features.vocabulary import Counter, Vocabulary
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Field


class VocabularyFeature(TokenFeature):
    """Base of features with a vocabulary."""

    __slots__ = ()
    min_count: int
    max_size: int | None
    admit: int | None
    expire: float | str | None
    evict: bool
    time: str | None

    @override
    def event_columns(self, name: str) -> tuple[str, ...]:
        """Return the time column of ``expire``, which rows to be scored do not need."""
        return () if self.time is None else (self.time,)

    @override
    def lookup_columns(self, name: str) -> tuple[str, ...]:
        """Return the columns of rows, and the time column."""
        return (*self.columns(name), *self.event_columns(name))

    @property
    def lifetime(self) -> Lifetime | None:
        """Conditions under which a value has an id; None if ids stay for good and each run counts for itself."""
        if self.admit is None and self.expire is None and not self.evict:
            return None
        expire = None if self.expire is None else seconds_of(self.expire)
        return Lifetime(self.admit or 1, expire, self.evict, self.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical(VocabularyFeature):
    """Values that are looked up in a vocabulary: ids, names or codes of any type.

    Args:
        column: Raw column; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        min_count: A value must occur this often in the training split to be in the vocabulary.
        max_size: Largest number of values in the vocabulary, which keeps the most frequent ones; None for all.
        admit: A value gets an id after this many occurrences in training rows, counted over this run and the runs that
            it starts from. In place of ``min_count``, which counts this run only.
        expire: A value loses its id, and its count, if its last occurrence is longer ago than this, such as ``30d``
            (``s``, ``m``, ``h``, ``d``, ``w``). A number is in seconds, or in the unit of a time column that holds
            numbers.
        evict: A run that starts from another one may take ids from the least frequent values, so that at most
            ``max_size`` have one. Otherwise known values are never dropped.
        time: Column with the time of a row, for ``expire``. Rows to be scored do not need it.

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
    admit: int | None = None
    expire: float | str | None = None
    evict: bool = False
    time: str | None = None

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        check_vocabulary(self)

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "CategoricalTransform":
        return CategoricalTransform(name, self)


def check_vocabulary(feature: VocabularyFeature) -> None:
    """Check the options of a vocabulary.

    Raises:
        DataError: If one is out of range, or two can't be combined.
    """
    min_count, max_size, admit, expire = feature.min_count, feature.max_size, feature.admit, feature.expire
    check(min_count >= 1, f"min_count is {min_count}", "at least 1")
    check(max_size is None or max_size >= 1, f"max_size is {max_size}", "at least 1")
    check(admit is None or admit >= 1, f"admit is {admit}", "at least 1")
    check(expire is None or seconds_of(expire) is not None, f"expire is {expire!r}", "above 0, such as 30d or 12h")
    check(expire is None or feature.time is not None, "expire needs time", "set time to the column with a row's time")
    check(expire is not None or feature.time is None, "time is set without expire", "only expire reads it")
    check(not feature.evict or max_size is not None, "evict needs max_size", "set it to the largest number of values")
    if feature.lifetime is not None:
        check(min_count == 1, "min_count counts one run; admit, expire and evict count all", f"admit: {min_count}")


class SharedVocabulary:
    """A vocabulary that one feature owns and sequence features may share.

    Args:
        name: Name of the embedding table.
        min_count: See :class:`Categorical`.
        max_size: See :class:`Categorical`.
        lifetime: Conditions under which a value has an id, where ids come and go.
    """

    def __init__(self, name: str, min_count: int, max_size: int | None, lifetime: Lifetime | None = None) -> None:
        self.name = name
        self.min_count = min_count
        self.max_size = max_size
        self.lifetime = lifetime
        self.usage: Usage | None = None
        """Counts over all runs, where ids come and go."""
        self._earlier: Usage | None = None
        self._dated: bool | None = None
        self._counter: Counter | None = Counter()
        self._dictionaries = DictionaryCache(name)
        self._lock = threading.Lock()  # columns are observed in parallel
        self._vocabulary: Vocabulary | None = None
        self.known: Vocabulary | None = None
        """Vocabulary of an earlier fit, which keeps its ids; see :mod:`mtl_lightning.data.preparation.growth`."""

    def moments(self, block: Block) -> np.ndarray | None:
        """Read the times of a block's rows, [N] float64; None if ids do not expire.

        Raises:
            DataError: If they are not times, or numbers where earlier blocks had times.
        """
        read = None if self.lifetime is None else self.lifetime.moments(block, f"features.{self.name}")
        if read is None:
            return None
        with self._lock:
            self._merge_dated(read[1])
        return read[0]

    def _merge_dated(self, dated: bool | None) -> None:
        self._dated = dated if self._dated is None else self._dated
        if dated not in (None, self._dated):
            reason = f"features.{self.name}: the time column {self.lifetime.time!r} holds times and numbers"  # type: ignore[union-attr]
            raise DataError(reason, "write all times in one form")

    def add(self, values: pa.Array, name: str, times: np.ndarray | None = None) -> None:
        """Count the values of a column; a dictionary's values are read once.

        Args:
            values: Values, [N], plain or dictionary-encoded.
            name: Name of the column, for messages.
            times: Result of :meth:`moments` for these values, [N].
        """
        with self._lock:
            assert self._counter is not None
            if times is not None:
                self._counter.add(keys(plain(values), name), times)
            elif pa.types.is_dictionary(values.type):
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

    def partial(self) -> tuple[bool | None, tuple[pa.Array, ...]]:
        """Return the form of times, and what the counter returns."""
        assert self._counter is not None
        self._dictionaries.drain(self._counter)
        self._dictionaries.forget()
        return self._dated, self._counter.partial()

    def merge(self, partial: tuple[bool | None, tuple[pa.Array, ...]]) -> None:
        """Add the counts of other blocks; their order does not matter."""
        assert self._counter is not None
        self._merge_dated(partial[0])
        self._counter.merge(partial[1])

    def grow(self, state: Mapping[str, Any]) -> None:
        """Keep the ids of an earlier fit's state; new values get ids after them."""
        self.known, self._earlier = Vocabulary.from_dict(state), _usage_of(state)

    def state(self) -> dict[str, Any]:
        """Return the vocabulary, and its usage where ids come and go, as plain containers."""
        state = self.vocabulary.to_dict()
        return state if self.usage is None else {**state, "usage": self.usage.to_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` returned."""
        self.vocabulary, self.usage = Vocabulary.from_dict(state), _usage_of(state)

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
                self._vocabulary = self._fit(self._counter)
                self._dictionaries.look_up(self._vocabulary)
                self._counter = None
            return self._vocabulary

    @vocabulary.setter
    def vocabulary(self, vocabulary: Vocabulary) -> None:
        self._vocabulary, self._counter = vocabulary, None

    def _fit(self, counter: Counter) -> Vocabulary:
        try:
            if self.lifetime is None:
                return Vocabulary.fit(counter, self.min_count, self.max_size, self.known)
            vocabulary, self.usage = turn_over(
                counter.result(), self.lifetime, self.max_size, self.known, self._earlier, self._dated
            )
        except DataError as error:
            raise DataError(f"features.{self.name}: {error.message}", error.hint) from error
        return vocabulary


def _usage_of(state: Mapping[str, Any]) -> Usage | None:
    return Usage.from_dict(state["usage"], as_text=state["text"]) if "usage" in state else None


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
        self.table = shared or SharedVocabulary(name, feature.min_count, feature.max_size, feature.lifetime)
        self.own = {} if self.shares else {self.column: self.table}
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
            self.table.grow(state)

    @override
    def state(self) -> dict[str, Any]:
        """Return the vocabulary; empty if it is shared."""
        return {} if self.shares else self.table.state()

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        if not self.shares:
            self.table.restore(state)


class CategoricalTransform(VocabularyTransform):
    """Ids by a fitted vocabulary."""

    @override
    def observe(self, block: Block) -> None:
        times, start = self.table.moments(block), 0
        for values in self.reader.chunks(block):
            self.table.add(values, self.column, None if times is None else times[start : start + len(values)])
            start += len(values)

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
