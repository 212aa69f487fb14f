"""Text features: hashed n-grams of words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.hashing import hash_keys, mix
from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.lists import flatten, pad
from mtl_lightning.data.features.base import (
    ColumnTransform,
    StatelessTransform,
    TokenFeature,
    Transform,
    check,
    check_expression,
)
from mtl_lightning.data.features.hashed import bucket_ids, check_size
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.schema import Field

UNSPACED = r"(\p{Han}|\p{Hiragana}|\p{Katakana}|\p{Thai})"
"""Letters of scripts without spaces: each counts as a word."""

NO_WORD = r"[^\p{L}\p{N}\p{M}]+"
"""Characters between words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(TokenFeature):
    """Words and n-grams of words, lower-cased and hashed to ids; encoders average their embeddings.

    Args:
        column: Raw column; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        size: Number of ids.
        length: Largest number of n-grams; the first ones of a longer text are kept.
        ngrams: Largest number of words in an n-gram, between 1 and 5.

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
    expression: str | None = None
    size: int = 50_000
    length: int = 64
    ngrams: int = 2

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        check_size(self.size)
        check(self.length >= 1, f"length is {self.length}", "at least 1")
        check(1 <= self.ngrams <= 5, f"ngrams is {self.ngrams}", "1 to 5")

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "TextTransform":
        return TextTransform(name, self)


class TextTransform(ColumnTransform[Text], StatelessTransform):
    """Sequences of ids by the hashes of n-grams."""

    @override
    def field(self) -> Field:
        size = self.feature.size + FIRST
        return Field(name=self.name, kind="sequence", size=size, table=self.name, length=self.feature.length)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as sequences of ids, [B, L] int32, in the order of the n-grams' first words."""
        spaced = pc.replace_substring_regex(self._lower(block), UNSPACED, r" \1 ")
        words = flatten(spaced, self.column, NO_WORD, regex=True)
        hashes, rows = hash_keys(words.values), words.rows
        place = np.arange(len(rows))
        parts, places = [hashes], [place]
        run = hashes
        for length in range(1, self.feature.ngrams):
            same_row = np.zeros(len(rows), dtype=bool)
            same_row[: len(rows) - length] = rows[length:] == rows[: len(rows) - length]
            following = np.concatenate([hashes[length:], np.zeros(min(length, len(rows)), dtype=np.uint64)])
            run = mix(run * np.uint64(0x9E3779B97F4A7C15) + following)
            parts.append(run[same_row])
            places.append(place[same_row])
        order = np.argsort(np.concatenate(places), kind="stable")
        begins = np.concatenate(places)[order]
        ids = bucket_ids(np.concatenate(parts)[order], self.feature.size)
        return pad(ids, rows[begins], words.total, self.feature.length, latest=False)

    def _lower(self, block: Block) -> pa.Array:
        return pc.utf8_lower(text(keys(self.reader.read(block, as_written), self.column)))
