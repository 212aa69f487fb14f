"""Dictionary-encoded columns: values are counted by code and looked up once for all blocks with the same dictionary."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import plain
from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.features.vocabulary import Counter, Vocabulary
from mtl_lightning.schema import PADDING

LARGEST = 16 << 20
"""Largest number of bytes of the dictionaries that are cached for a column."""


@dataclass(slots=True)
class CachedDictionary:
    """A dictionary, with the counts and ids of its codes.

    Args:
        values: The dictionary itself, kept alive so that its address stays unique.
        keys: Its values as keys, [K].
        counts: Number of occurrences of each code, [K] int64.
        ids: Id of each code, then the id of a missing value, [K + 1] int32; None before the vocabulary is fitted.
    """

    values: pa.Array
    keys: pa.Array
    counts: np.ndarray
    ids: np.ndarray | None = None


class DictionaryCache:
    """Cache of a column's dictionaries in bounded memory.

    Counting by code does not read a block's text. Files have one dictionary per part of their rows, and most values
    occur in several of them, so that all dictionaries are looked up together.

    Args:
        name: Name of the column, for messages.

    Example:
        >>> dictionaries, counter = DictionaryCache("word"), Counter()
        >>> column = pa.array(["b", "a", "b", None]).dictionary_encode()
        >>> dictionaries.add(column, counter)
        >>> dictionaries.drain(counter)
        >>> vocabulary = Vocabulary.fit(counter)
        >>> dictionaries.look_up(vocabulary)
        >>> dictionaries.ids(column, vocabulary).tolist()
        [2, 3, 2, 0]
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._cached: dict[tuple[int, ...], CachedDictionary] = {}
        self._bytes = 0
        self._union: pa.Array | None = None
        self._codes: list[np.ndarray] = []

    def add(self, values: pa.DictionaryArray, counter: Counter) -> None:
        """Count the codes of a column.

        Args:
            values: The column, [N].
            counter: Takes over the counts so far if the cache is full.
        """
        address = _address(values.dictionary)
        if address not in self._cached:
            size = values.dictionary.nbytes + 16 * len(values.dictionary)
            if self._bytes + size > LARGEST:
                self.drain(counter)
                self.forget()
            codes = keys(plain(values.dictionary), self.name)
            self._cached[address] = CachedDictionary(values.dictionary, codes, np.zeros(len(codes), dtype=np.int64))
            self._bytes += size
        counts = self._cached[address].counts
        counts += np.bincount(values.indices.drop_null().to_numpy(), minlength=len(counts))

    def drain(self, counter: Counter) -> None:
        """Add the counts so far to a counter."""
        if not self._cached:
            return
        parts = [dictionary.keys for dictionary in self._cached.values()]
        if any(is_text(part.type) for part in parts):
            parts = [text(part) for part in parts]
        joined = pa.concat_arrays(parts).dictionary_encode()
        codes = joined.indices.fill_null(len(joined.dictionary)).to_numpy()
        counts = np.concatenate([dictionary.counts for dictionary in self._cached.values()])
        # Sums of integers are exact in float64. Nulls in a dictionary have the last code and don't count.
        sums = np.bincount(codes, weights=counts, minlength=len(joined.dictionary) + 1)[:-1].astype(np.int64)
        counter.add_counts(joined.dictionary.filter(pa.array(sums > 0)), pa.array(sums[sums > 0]))
        self._union = joined.dictionary
        self._codes = np.split(codes, np.cumsum([len(part) for part in parts])[:-1])

    def look_up(self, vocabulary: Vocabulary) -> None:
        """Cache the ids of all dictionaries whose counts were drained last."""
        if self._union is None:
            return
        ids = np.append(vocabulary.ids(self._union, distinct=True), np.int32(PADDING))
        for dictionary, codes in zip(self._cached.values(), self._codes, strict=True):
            dictionary.ids = np.append(ids[codes], np.int32(PADDING))
        self._union, self._codes = None, []

    def ids(self, values: pa.DictionaryArray, vocabulary: Vocabulary) -> np.ndarray:
        """Return the ids of a column's values, [N] int32, with or without a cached dictionary."""
        cached = self._cached.get(_address(values.dictionary))
        if cached is None or cached.ids is None:
            ids = vocabulary.ids(keys(plain(values.dictionary), self.name), distinct=True)
            by_code = np.append(ids, np.int32(PADDING))
        else:
            by_code = cached.ids
        result: np.ndarray = by_code.take(values.indices.fill_null(len(by_code) - 1).to_numpy(), mode="clip")
        return result

    def forget(self) -> None:
        """Empty the cache."""
        self._cached, self._bytes, self._union, self._codes = {}, 0, None, []


def _address(values: pa.Array) -> tuple[int, ...]:
    """Return the address of an array in memory; two arrays that are alive at the same time differ in it."""
    buffers = (0 if buffer is None else buffer.address for buffer in values.buffers())
    return (values.offset, len(values), *buffers)
