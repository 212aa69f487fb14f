"""Buckets: a number as the id of the quantile in which it lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from mtl_lightning.data.arrow.columns import Block, column
from mtl_lightning.data.arrow.keys import as_printed
from mtl_lightning.data.arrow.number_text import check_units
from mtl_lightning.data.arrow.numbers import numbers
from mtl_lightning.data.features.base import Alone, Transform, check
from mtl_lightning.data.features.saved import SavedBuckets
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.schema import PADDING, Field

POINTS = 1 << 16
"""Points of a :class:`Quantiles` sketch."""


class Quantiles:
    """Quantiles over blocks in bounded memory, the same for the same rows in the same order.

    They are exact for up to 131,072 distinct values; beyond that each compression adds an error of at most n / 65,536
    ranks.

    Source: merging of weighted summaries as in Manku, Rajagopalan and Lindsay, SIGMOD 1998.

    Example:
        >>> sketch = Quantiles()
        >>> sketch.add(np.arange(100.0))
        >>> sketch.at(np.array([0.25, 0.5])).tolist()
        [24.0, 49.0]
    """

    def __init__(self) -> None:
        self._values: np.ndarray = np.zeros(0)
        self._weights: np.ndarray = np.zeros(0)
        self._waiting: list[np.ndarray] = []
        self._count = 0

    def add(self, values: np.ndarray) -> None:
        """Add a block; NaN is left out."""
        values = values[~np.isnan(values)]
        self._waiting.append(values)
        self._count += len(values)
        if self._count > 4 * POINTS:
            self._merge()

    def _merge(self) -> None:
        """Sort what waits into the summary."""
        found, counts = np.unique(np.concatenate([np.zeros(0), *self._waiting]), return_counts=True)
        self._waiting, self._count = [], 0
        joined = np.concatenate([self._values, found])
        weights = np.concatenate([self._weights, counts])
        order = np.argsort(joined, kind="stable")  # merges two sorted runs
        joined, weights = joined[order], weights[order]
        first = np.concatenate([np.ones(min(1, len(joined)), dtype=bool), joined[1:] != joined[:-1]])
        self._values = joined[first]
        self._weights = np.add.reduceat(weights, np.flatnonzero(first)) if len(joined) else weights
        if len(self._values) > 2 * POINTS:
            self._compress()

    def _compress(self) -> None:
        """Keep the value in the middle of each of many ranges of equal weight."""
        ranks = np.cumsum(self._weights)
        bounds = np.linspace(0, ranks[-1], POINTS + 1)
        middle = np.searchsorted(ranks, (bounds[1:] + bounds[:-1]) / 2)
        kept, counts = np.unique(middle, return_counts=True)
        self._values, self._weights = self._values[kept], counts * (ranks[-1] / POINTS)

    def at(self, shares: np.ndarray) -> np.ndarray:
        """The smallest values below or at which these shares of the rows lie; empty if there are no rows."""
        self._merge()
        if not len(self._values):
            return np.zeros(0)
        ranks = np.cumsum(self._weights)
        found: np.ndarray = self._values[np.minimum(np.searchsorted(ranks, shares * ranks[-1]), len(ranks) - 1)]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets(Alone):
    """A number as a category, by quantiles of the training split or by given edges.

    Args:
        column: Raw column; the feature's name if None.
        count: Number of quantile buckets; fewer where values repeat.
        edges: Upper bounds (inclusive) of all buckets but the last, ascending; they replace quantiles.
        strip: Units that text may hold before or after a number, such as ``$`` or ``%``.

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
    count: int = 10
    edges: tuple[float, ...] | None = None
    strip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "strip", tuple(self.strip))
        check_units(self.strip)
        check(self.count >= 2, f"count is {self.count}", "at least 2")
        if self.edges is not None:
            object.__setattr__(self, "edges", tuple(self.edges))
            ascending = all(low < high for low, high in zip(self.edges, self.edges[1:], strict=False))
            check(bool(self.edges) and ascending, f"edges are {list(self.edges)}", "ascending numbers")

    def build(self, name: str, others: Mapping[str, Transform]) -> "BucketsTransform":
        """Its transform."""
        return BucketsTransform(name, self)


class BucketsTransform:
    """Fitted edges.

    Args:
        name: The feature's name.
        feature: Its options.
    """

    saved: ClassVar[Any] = SavedBuckets

    def __init__(self, name: str, feature: Buckets) -> None:
        self.name = name
        self.column = feature.columns(name)[0]
        self.count = feature.count
        self.strip = feature.strip
        self.given = feature.edges is not None
        self.edges = np.array(feature.edges or (), dtype=np.float64)
        self.quantiles = Quantiles()

    def observe(self, block: Block) -> None:
        """Add to the quantiles."""
        if not self.given:
            self.quantiles.add(self._values(block))

    def finish(self) -> None:
        """Fix the edges."""
        if not self.given:
            self.edges = np.unique(self.quantiles.at(np.arange(1, self.count) / self.count))
            self.quantiles = Quantiles()

    def field(self) -> Field:
        """A categorical field."""
        return Field(name=self.name, kind="categorical", size=len(self.edges) + 1 + FIRST, table=self.name)

    def encode(self, block: Block) -> np.ndarray:
        """Ids, [B] int32; infinities lie in the outer buckets."""
        return self.bucketed(self._values(block))

    def _values(self, block: Block) -> np.ndarray:
        return self.numbers(as_printed(column(block, self.column)))

    def numbers(self, values: pa.Array) -> np.ndarray:
        """A column as float64, NaN where missing."""
        return numbers(values, self.column, finite=False, units=self.strip)

    def bucketed(self, values: np.ndarray) -> np.ndarray:
        """Ids of a column's numbers (float64, NaN where missing), [B] int32."""
        ids = np.searchsorted(self.edges, values, side="left") + FIRST
        return np.where(np.isnan(values), PADDING, ids).astype(np.int32)

    def state(self) -> dict[str, Any]:
        """The edges."""
        return {"edges": self.edges.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The edges."""
        self.edges = np.array(state["edges"], dtype=np.float64)
