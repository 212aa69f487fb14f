"""Numeric features: numbers that are clipped, transformed and standardised."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.arrow.number_text import check_units
from mtl_lightning.data.arrow.numbers import Moments, RowError, numbers
from mtl_lightning.data.features.base import (
    Accumulator,
    ColumnFeature,
    ColumnTransform,
    Transform,
    check,
    check_expression,
)
from mtl_lightning.data.features.quantiles import Quantiles
from mtl_lightning.data.features.state_structure import SavedNumeric
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.schema import Field

NUMERIC_TRANSFORMS = ("standard", "log", "none")
"""Values of the option ``transform``."""

MISSING_WORDS = ("mean", "zero")
"""Words that the option ``missing`` may have instead of a number."""

GRID = 4097
"""Number of quantiles that edges are chosen from."""

SAMPLED = 1 << 14
"""Number of values of a block that count for its quantiles."""


def bin_edges(quantiles: Quantiles, bins: int = 32) -> np.ndarray:
    """Choose edges of bins that have about equally many rows; a value that fills a bin alone is an edge itself.

    If a column is mostly zero, plain quantiles would nearly all be zero and leave one bin for the other values. If
    there are no more values than edges, each value is one.

    Args:
        quantiles: Sketch of the values.
        bins: Largest number of bins.

    Returns:
        At most ``bins`` + 1 edges, ascending, float64; empty if there are no rows.

    Example:
        >>> sketch = Quantiles()
        >>> sketch.add(np.concatenate([np.zeros(9000), np.arange(1.0, 1001.0)]))
        >>> edges = bin_edges(sketch)
        >>> len(edges), edges[[0, 1, -1]].tolist()
        (33, [0.0, 2.0, 1000.0])
    """
    grid = quantiles.at(np.linspace(0, 1, GRID))
    if not len(grid):
        return grid
    values, counts = np.unique(grid, return_counts=True)
    if len(values) <= bins + 1:
        return values
    heavy = counts * bins > GRID
    rest = np.repeat(values[~heavy], counts[~heavy])
    places = np.linspace(0, max(len(rest) - 1, 0), max(bins + 1 - int(heavy.sum()), 2)).astype(int)
    return np.unique(np.concatenate([values[heavy], values[[0, -1]], rest[places[: len(rest)]]]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric(ColumnFeature):
    """A number that enters the model as a number.

    Args:
        column: Raw column; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        missing: Replacement of a missing value: ``mean``, ``zero`` or a number, in the column's own unit.
        transform: ``standard`` (mean 0 and standard deviation 1 over the training split), ``log``
            (sign(x)·log(1+|x|), then standard) or ``none``.
        minimum: Smaller values are clipped to it before they are transformed.
        maximum: Larger values are clipped to it.
        strip: Units to remove before or after a number in text, such as ``$`` or ``%``.
        bins: Largest number of bins of the encodings ``piecewise`` and ``levels``, from 1 to 1,024.

    Raises:
        DataError: If an option is unknown or out of range.

    Example:
        >>> Numeric(transform="log", missing=0.0).columns("price")
        ('price',)
    """

    kind: ClassVar[str] = "numeric"
    makes: ClassVar[str] = "numeric"
    column: str | None = None
    expression: str | None = None
    missing: str | float = "mean"
    transform: str = "standard"
    minimum: float | None = None
    maximum: float | None = None
    strip: tuple[str, ...] = ()
    bins: int = 32

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        object.__setattr__(self, "strip", tuple(self.strip))
        check_units(self.strip)
        known = isinstance(self.missing, int | float) or self.missing in MISSING_WORDS
        check(known, f"missing is {self.missing!r}", "mean, zero or a number")
        check(
            self.transform in NUMERIC_TRANSFORMS,
            f"transform is {self.transform!r}",
            did_you_mean(self.transform, NUMERIC_TRANSFORMS),
        )
        check(1 <= self.bins <= 1024, f"bins is {self.bins}", "from 1 to 1024")
        ordered = self.minimum is None or self.maximum is None or self.minimum < self.maximum
        check(ordered, f"minimum {self.minimum} is not below maximum {self.maximum}")

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "NumericTransform":
        return NumericTransform(name, self)


class NumericTransform(ColumnTransform[Numeric]):
    """Numbers that are clipped, transformed and standardised by fitted moments.

    Args:
        name: Name of the feature.
        feature: Its options.
    """

    saved: ClassVar[Any] = SavedNumeric

    def __init__(self, name: str, feature: Numeric) -> None:
        super().__init__(name, feature)
        self.moments = Moments()
        self.quantiles = Quantiles()
        self.edges: tuple[float, ...] = ()
        self.known_mean = 0.0
        self.mean = 0.0
        self.scale = 1.0

    def _transform(self, values: np.ndarray) -> np.ndarray:
        if self.feature.minimum is not None or self.feature.maximum is not None:
            values = np.clip(values, self.feature.minimum, self.feature.maximum)
        return np.sign(values) * np.log1p(np.abs(values)) if self.feature.transform == "log" else values

    def numbers(self, values: pa.Array) -> np.ndarray:
        """Read a column as numbers, [B] float64, NaN where missing."""
        return numbers(values, self.column, units=self.feature.strip)

    @override
    def observe(self, block: Block) -> None:
        """Add all rows of a block to the moments, and evenly spaced ones to the quantiles."""
        values = self._transform(self.numbers(self.reader.read(block)))
        self.moments.add(values)
        self.quantiles.add(values[:: max(1, len(values) // SAMPLED)])

    def accumulators(self) -> list[Accumulator]:
        """Return moments and quantiles."""
        return [self.moments, self.quantiles]

    @override
    def finish(self) -> None:
        """Fit mean, scale and edges; a constant column becomes zeros.

        Raises:
            DataError: If values overflow.
        """
        self.known_mean, scale = self.moments.mean, self.moments.deviation or 1.0
        if self.feature.transform != "none":
            self.mean, self.scale = self.known_mean, scale
        if not np.isfinite([self.known_mean, self.scale]).all():
            raise DataError(f"features.{self.name}: column {self.column!r} has values that overflow", "transform: log")
        points = (bin_edges(self.quantiles, self.feature.bins) - self.mean) / self.scale
        self.edges = tuple(np.unique(points.astype(np.float32)).tolist())
        self.quantiles = Quantiles()

    @override
    def field(self) -> Field:
        return Field(name=self.name, kind="numeric", edges=self.edges)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as numbers, [B] float32."""
        return self.scaled(self.numbers(self.reader.read(block)))

    def scaled(self, raw: np.ndarray) -> np.ndarray:
        """Transform and scale numbers for the model.

        Args:
            raw: Numbers of the column, [B] float64, NaN where missing.

        Returns:
            Model input, [B] float32.

        Raises:
            RowError: If a number is too large for float32.
        """
        values = (self._transform(raw) - self.mean) / self.scale
        with np.errstate(over="ignore"):
            result = np.where(np.isnan(values), self._missing(), values).astype(np.float32)
        if np.isinf(result).any():
            message = f"column {self.column!r} is too large for float32"
            places = np.flatnonzero(np.isinf(result)).tolist()
            hint = "transform: log, or set minimum and maximum"
            raise RowError(message, places[0], hint, dict.fromkeys(places, message))
        return result

    def _missing(self) -> float:
        missing = self.feature.missing
        if missing == "mean":
            return (self.known_mean - self.mean) / self.scale
        raw = np.array([0.0 if missing == "zero" else float(missing)])
        return float((self._transform(raw)[0] - self.mean) / self.scale)

    @override
    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "scale": self.scale, "known_mean": self.known_mean, "edges": list(self.edges)}

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean, self.scale, self.known_mean = state["mean"], state["scale"], state["known_mean"]
        self.edges = tuple(state.get("edges", ()))
