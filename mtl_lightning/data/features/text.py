"""Text as hashed n-grams of words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.hashing import hash_keys, mix
from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.lists import flatten, pad
from mtl_lightning.data.features.base import Alone, Stateless, Transform, check
from mtl_lightning.data.features.hashed import bucket_ids, check_size
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.schema import Field

UNSPACED = r"(\p{Han}|\p{Hiragana}|\p{Katakana}|\p{Thai})"
"""Letters of writing without blanks: each is taken for a word."""
NO_WORD = r"[^\p{L}\p{N}\p{M}]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Alone):
    """Words and runs of words, lower-cased and hashed to ids of an own table; their embeddings are averaged.

    Args:
        column: Raw column; the feature's name if None.
        size: Number of ids.
        length: Number of n-grams kept, from the text's beginning.
        ngrams: Longest run of words that has an id.

    Raises:
        DataError: If an option is out of range.

    Example:
        >>> title = Text(ngrams=2, length=4).build("title", {})
        >>> ids = title.encode(pa.table({"title": ["Red dress", "red!", None]}))
        >>> bool(ids[0, 0] == ids[1, 0]), (ids != 0).sum(axis=1).tolist()
        (True, [3, 1, 0])
    """

    kind: ClassVar[str] = "text"
    makes: ClassVar[str] = "sequence"
    column: str | None = None
    size: int = 50_000
    length: int = 64
    ngrams: int = 2

    def __post_init__(self) -> None:
        check_size(self.size)
        check(self.length >= 1, f"length is {self.length}", "at least 1")
        check(1 <= self.ngrams <= 5, f"ngrams is {self.ngrams}", "1 to 5")

    def tokens(self, name: str) -> tuple[str, ...]:
        """Its column."""
        return self.columns(name)

    def build(self, name: str, others: Mapping[str, Transform]) -> "TextTransform":
        """Its transform."""
        return TextTransform(name, self)


class TextTransform(Stateless):
    """Hashes n-grams.

    Args:
        name: The feature's name.
        feature: Its options.
    """

    def __init__(self, name: str, feature: Text) -> None:
        self.name = name
        self.feature = feature
        self.column = feature.columns(name)[0]

    def field(self) -> Field:
        """A sequence field."""
        size = self.feature.size + FIRST
        return Field(name=self.name, kind="sequence", size=size, table=self.name, length=self.feature.length)

    def encode(self, block: Block) -> np.ndarray:
        """Ids, [B, L] int32, in the order in which n-grams begin."""
        spaced = pc.replace_substring_regex(self._lower(block), UNSPACED, r" \1 ")
        words = flatten(spaced, self.column, NO_WORD, regex=True)
        hashes, rows = hash_keys(words.values), words.rows
        place = np.arange(len(rows))
        parts, places = [hashes], [place]
        run = hashes
        for length in range(1, self.feature.ngrams):
            whole = np.zeros(len(rows), dtype=bool)
            whole[: len(rows) - length] = rows[length:] == rows[: len(rows) - length]
            following = np.concatenate([hashes[length:], np.zeros(min(length, len(rows)), dtype=np.uint64)])
            run = mix(run * np.uint64(0x9E3779B97F4A7C15) + following)
            parts.append(run[whole])
            places.append(place[whole])
        order = np.argsort(np.concatenate(places), kind="stable")
        begins = np.concatenate(places)[order]
        ids = bucket_ids(np.concatenate(parts)[order], self.feature.size)
        return pad(ids, rows[begins], words.total, self.feature.length, latest=False)

    def _lower(self, block: Block) -> pa.Array:
        return pc.utf8_lower(text(keys(as_written(block, self.column), self.column)))
