"""Dictionaries of text as a log's files have them: counted by code, looked up once for all blocks that share one."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import plain
from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.features.vocabulary import Counter, Vocabulary
from mtl_lightning.schema import PADDING

LARGEST = 16 << 20
"""Bytes of dictionaries that a column remembers."""


@dataclass(slots=True)
class Seen:
    """One dictionary.

    Args:
        values: It; held so that its place in memory belongs to it alone.
        keys: Its values as keys.
        counts: How often each code occurred.
        ids: Id of each code, then that of a missing value; None before the vocabulary is fitted.
    """

    values: pa.Array
    keys: pa.Array
    counts: np.ndarray
    ids: np.ndarray | None = None


class Dictionaries:
    """What was seen of a column's dictionaries; memory is bounded.

    Counting by code, a block needs no look at its text. Files have a dictionary per part of the rows, most values of
    which come again in the next one: all are looked up together.

    Args:
        name: The column, for messages.

    Example:
        >>> dictionaries, counter = Dictionaries("word"), Counter()
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
        self._seen: dict[tuple[int, ...], Seen] = {}
        self._bytes = 0
        self._union: pa.Array | None = None
        self._codes: list[np.ndarray] = []

    def add(self, values: pa.DictionaryArray, counter: Counter) -> None:
        """Count a column's codes; if that would remember too much, hand over to the counter what there is."""
        place = _place(values.dictionary)
        if place not in self._seen:
            size = values.dictionary.nbytes + 16 * len(values.dictionary)
            if self._bytes + size > LARGEST:
                self.drain(counter)
                self.forget()
            found = keys(plain(values.dictionary), self.name)
            self._seen[place] = Seen(values.dictionary, found, np.zeros(len(found), dtype=np.int64))
            self._bytes += size
        counts = self._seen[place].counts
        counts += np.bincount(values.indices.drop_null().to_numpy(), minlength=len(counts))

    def drain(self, counter: Counter) -> None:
        """Hand the counts over."""
        if not self._seen:
            return
        found = [seen.keys for seen in self._seen.values()]
        if any(is_text(one.type) for one in found):
            found = [text(one) for one in found]
        joined = pa.concat_arrays(found).dictionary_encode()
        codes = joined.indices.fill_null(len(joined.dictionary)).to_numpy()
        counts = np.concatenate([seen.counts for seen in self._seen.values()])
        # Sums of whole numbers, exact as float64; what is missing in a dictionary comes last and doesn't count.
        sums = np.bincount(codes, weights=counts, minlength=len(joined.dictionary) + 1)[:-1].astype(np.int64)
        counter.add_counts(joined.dictionary.filter(pa.array(sums > 0)), pa.array(sums[sums > 0]))
        self._union = joined.dictionary
        self._codes = np.split(codes, np.cumsum([len(one) for one in found])[:-1])

    def look_up(self, vocabulary: Vocabulary) -> None:
        """Keep the ids of all dictionaries that were drained last."""
        if self._union is None:
            return
        ids = np.append(vocabulary.ids(self._union, distinct=True), np.int32(PADDING))
        for seen, codes in zip(self._seen.values(), self._codes, strict=True):
            seen.ids = np.append(ids[codes], np.int32(PADDING))
        self._union, self._codes = None, []

    def ids(self, values: pa.DictionaryArray, vocabulary: Vocabulary) -> np.ndarray:
        """Ids of a column's values, int32."""
        seen = self._seen.get(_place(values.dictionary))
        if seen is None or seen.ids is None:
            found = vocabulary.ids(keys(plain(values.dictionary), self.name), distinct=True)
            by_code = np.append(found, np.int32(PADDING))
        else:
            by_code = seen.ids
        result: np.ndarray = by_code.take(values.indices.fill_null(len(by_code) - 1).to_numpy(), mode="clip")
        return result

    def forget(self) -> None:
        """Give the memory back."""
        self._seen, self._bytes, self._union, self._codes = {}, 0, None, []


def _place(values: pa.Array) -> tuple[int, ...]:
    """Where an array lies in memory; equal for two of which one is held only if they are the same."""
    buffers = (0 if buffer is None else buffer.address for buffer in values.buffers())
    return (values.offset, len(values), *buffers)
