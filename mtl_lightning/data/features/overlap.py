"""Overlap features: matches between two lists of a row, such as a user's tags and an item's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.lists import Flat, flatten
from mtl_lightning.data.features.base import Accumulator, Feature, Transform, check
from mtl_lightning.data.features.numeric import NUMERIC_TRANSFORMS, Numeric, NumericTransform
from mtl_lightning.data.features.state_structure import SavedNumeric
from mtl_lightning.errors import did_you_mean
from mtl_lightning.schema import Field

MEASURES = ("count", "share", "jaccard")
"""Values of the option ``as``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap(Feature):
    """Number or rate of the values that two lists of a row have in common, as a number.

    Args:
        of: Two raw columns with lists, delimited text or single values: of the user and of the item, say.
        as_: Measure (``as`` in a recipe). ``count``: common values. ``share``: common values divided by the values of
            the second list. ``jaccard``: common values divided by the values of either list. Repeated values count
            once. A rate is missing where it divides by 0.
        separator: Delimiter of values if a column holds text.
        transform: As for :class:`~mtl_lightning.data.features.numeric.Numeric`.

    Raises:
        DataError: If there are not two columns, or an option is unknown.

    Example:
        >>> common = Overlap(of=("likes", "tags"), separator="|", transform="none").build("common", {})
        >>> common.observe(pa.table({"likes": ["a|b", None], "tags": ["b|c", "a"]}))
        >>> common.finish()
        >>> common.encode(pa.table({"likes": ["a|b", None], "tags": ["b|c", "a"]})).tolist()
        [1.0, 0.0]
    """

    kind: ClassVar[str] = "overlap"
    makes: ClassVar[str] = "numeric"
    of: tuple[str, ...]
    as_: Literal["count", "share", "jaccard"] = "count"
    separator: str = ","
    transform: str = "standard"

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", tuple(self.of))
        check(len(self.of) == 2, f"of is {list(self.of)}", "two columns: [user_tags, item_tags]")
        check(self.of[0] != self.of[-1], f"of is {list(self.of)}", "two different columns")
        check(self.as_ in MEASURES, f"as is {self.as_!r}", did_you_mean(str(self.as_), MEASURES))
        check(bool(self.separator), "separator is empty")
        hint = did_you_mean(self.transform, NUMERIC_TRANSFORMS)
        check(self.transform in NUMERIC_TRANSFORMS, f"transform is {self.transform!r}", hint)

    @override
    def columns(self, name: str) -> tuple[str, ...]:
        return self.of

    @override
    def tokens(self, name: str) -> tuple[str, ...]:
        return self.of

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "OverlapTransform":
        return OverlapTransform(name, self)


class OverlapTransform(Transform):
    """Measures of overlap on the scale of the training split.

    Args:
        name: Name of the feature.
        feature: Its options.
    """

    saved: ClassVar[Any] = SavedNumeric

    def __init__(self, name: str, feature: Overlap) -> None:
        self.name, self.feature = name, feature
        self.scale = NumericTransform(name, Numeric(column=name, transform=feature.transform))

    def _measure(self, block: Block) -> np.ndarray:
        """Measure a block, [B] float64; NaN where a rate divides by 0."""
        first, second = (
            flatten(as_written(block, column), column, self.feature.separator) for column in self.feature.of
        )
        pairs = _distinct_pairs(first, second, self.feature.of)
        rows = block.num_rows
        left, right, both = (
            np.bincount(places, minlength=rows).astype(np.float64)
            for places in (pairs[0] // pairs[2], pairs[1] // pairs[2], np.intersect1d(*pairs[:2]) // pairs[2])
        )
        if self.feature.as_ == "count":
            return both
        divisor = right if self.feature.as_ == "share" else left + right - both
        return np.divide(both, divisor, out=np.full(rows, np.nan), where=divisor > 0)

    @override
    def observe(self, block: Block) -> None:
        self.scale.observe(self._column(block))

    def accumulators(self) -> list[Accumulator]:
        """Return moments and quantiles."""
        return self.scale.accumulators()

    @override
    def finish(self) -> None:
        self.scale.finish()

    @override
    def field(self) -> Field:
        return self.scale.field()

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as numbers, [B] float32."""
        return self.scale.encode(self._column(block))

    def _column(self, block: Block) -> pa.Table:
        return pa.table({self.name: self._measure(block)})

    @override
    def state(self) -> dict[str, Any]:
        return self.scale.state()

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self.scale.restore(state)


def _distinct_pairs(first: Flat, second: Flat, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return row × size + value of the distinct values of each list, and the size."""
    values = [keys(flat.values, column) for flat, column in zip((first, second), columns, strict=True)]
    if values[0].type != values[1].type:
        values = [text(part) for part in values]
    coded = pa.concat_arrays(values).dictionary_encode()
    size = max(len(coded.dictionary), 1)
    known = coded.indices.is_valid().to_numpy(zero_copy_only=False)
    codes = coded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    places = np.concatenate([first.rows, second.rows]) * size + codes
    left = np.arange(len(codes)) < len(first.rows)
    return np.unique(places[left & known]), np.unique(places[~left & known]), size
