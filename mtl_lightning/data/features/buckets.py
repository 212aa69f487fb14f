"""Buckets: a number as the id of its quantile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.arrow.keys import as_printed
from mtl_lightning.data.arrow.number_text import check_units
from mtl_lightning.data.arrow.numbers import numbers
from mtl_lightning.data.features.base import (
    Accumulator,
    ColumnFeature,
    ColumnTransform,
    Transform,
    check,
    check_expression,
)
from mtl_lightning.data.features.quantiles import Quantiles
from mtl_lightning.data.features.state_structure import SavedBuckets
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.schema import PADDING, Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets(ColumnFeature):
    """A number as a category, by quantiles of the training split or by given edges.

    Args:
        column: Raw column; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        count: Number of quantile buckets; fewer where values repeat.
        edges: Inclusive upper bounds of all buckets except the last, ascending; used instead of quantiles.
        strip: Units to remove before or after a number in text, such as ``$`` or ``%``.

    Raises:
        DataError: If an option is out of range.

    Example:
        >>> import pyarrow as pa
        >>> buckets = Buckets(edges=(10.0, 20.0)).build("price", {})
        >>> buckets.encode(pa.table({"price": [10.0, 15.0, 99.0, None]})).tolist()
        [2, 3, 4, 0]
    """

    kind: ClassVar[str] = "buckets"
    makes: ClassVar[str] = "categorical"
    column: str | None = None
    expression: str | None = None
    count: int = 10
    edges: tuple[float, ...] | None = None
    strip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        object.__setattr__(self, "strip", tuple(self.strip))
        check_units(self.strip)
        check(self.count >= 2, f"count is {self.count}", "at least 2")
        if self.edges is not None:
            object.__setattr__(self, "edges", tuple(self.edges))
            ascending = all(low < high for low, high in zip(self.edges, self.edges[1:], strict=False))
            check(bool(self.edges) and ascending, f"edges are {list(self.edges)}", "ascending numbers")

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "BucketsTransform":
        return BucketsTransform(name, self)


class BucketsTransform(ColumnTransform[Buckets]):
    """Ids of buckets by fitted edges.

    Args:
        name: Name of the feature.
        feature: Its options.
    """

    saved: ClassVar[Any] = SavedBuckets

    def __init__(self, name: str, feature: Buckets) -> None:
        super().__init__(name, feature)
        self.edges = np.array(feature.edges or (), dtype=np.float64)
        self.quantiles = Quantiles()

    @override
    def observe(self, block: Block) -> None:
        if self.feature.edges is None:
            self.quantiles.add(self._values(block))

    def accumulators(self) -> list[Accumulator]:
        """Return the quantiles."""
        return [self.quantiles]

    @override
    def finish(self) -> None:
        if self.feature.edges is None:
            self.edges = np.unique(self.quantiles.at(np.arange(1, self.feature.count) / self.feature.count))
            self.quantiles = Quantiles()

    @override
    def field(self) -> Field:
        return Field(name=self.name, kind="categorical", size=len(self.edges) + 1 + FIRST, table=self.name)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as ids, [B] int32; infinities are in the first and the last bucket."""
        return self.bucketed(self._values(block))

    def _values(self, block: Block) -> np.ndarray:
        return self.numbers(as_printed(self.reader.read(block)))

    def numbers(self, values: pa.Array) -> np.ndarray:
        """Read a column as numbers, [B] float64, NaN where missing."""
        return numbers(values, self.column, finite=False, units=self.feature.strip)

    def bucketed(self, values: np.ndarray) -> np.ndarray:
        """Return the ids, [B] int32, of numbers, [B] float64 with NaN where missing."""
        ids = np.searchsorted(self.edges, values, side="left") + FIRST
        return np.where(np.isnan(values), PADDING, ids).astype(np.int32)

    @override
    def state(self) -> dict[str, Any]:
        return {"edges": self.edges.tolist()}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self.edges = np.array(state["edges"], dtype=np.float64)
