"""Numbers of a column as float64, and moments over blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.number_text import without_units
from mtl_lightning.data.arrow.types import clean, is_number, is_text, is_time
from mtl_lightning.errors import DataError

MISSING = ["", "\\N", "NULL", "null", "None", "NaN", "nan", "NA", "N/A", "n/a"]
"""Spellings of a missing number in text."""


class RowError(DataError):
    """Error at a value of a block; preparation adds the split and the row.

    Args:
        message: Description of the error, which begins with the column.
        index: Index of the first wrong value in the block.
        hint: Remedy.
        further: Messages of other wrong values in the block, by their index.
    """

    def __init__(self, message: str, index: int, hint: str = "", further: Mapping[int, str] | None = None) -> None:
        super().__init__(message, hint)
        self.index = index
        self.further = dict(further or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.index, self.hint, self.further)


def numbers(values: pa.Array, name: str, *, finite: bool = True, units: Sequence[str] = ()) -> np.ndarray:
    """Convert a column to float64, [N] → [N]; missing values become NaN.

    Args:
        values: Numbers, truth values (0 and 1), times (seconds since 1970) or text that holds numbers.
        name: Name of the column, for messages.
        finite: Refuse infinities.
        units: Units that may precede or follow a number in text.

    Raises:
        RowError: At text that is not a number, and at infinities.
        DataError: If the column's type has no numbers.

    Example:
        >>> numbers(pa.array(["1.5", None]), "price").tolist()
        [1.5, nan]
    """
    kind = values.type
    if pt.is_boolean(kind):
        values = pc.cast(values, pa.int8())
    elif is_time(kind):
        stamps = clean(values)
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[stamps.type.unit]
        values = pc.divide(pc.cast(pc.cast(stamps, pa.int64()), pa.float64(), safe=False), float(per_second))
    elif is_text(kind):
        values = _parse(values, name, units)
    elif not (is_number(kind) or pt.is_decimal(kind) or pt.is_null(kind)):
        raise DataError(f"column {name!r} holds {kind}, not numbers")
    floats = pc.cast(values, pa.float64(), safe=False)
    result = (floats.fill_null(np.nan) if floats.null_count else floats).to_numpy(zero_copy_only=False)
    if finite and np.isinf(result).any():
        message, places = f"column {name!r} is infinite", np.flatnonzero(np.isinf(result)).tolist()
        raise RowError(message, places[0], "clean the column", dict.fromkeys(places, message))
    return np.asarray(result)


def _parse(values: pa.Array, name: str, units: Sequence[str]) -> pa.Array:
    trimmed = without_units(pc.utf8_trim_whitespace(values), units)
    nothing = pc.is_in(trimmed, value_set=pa.array(MISSING, trimmed.type))
    filled = pc.if_else(nothing, pa.scalar(None, trimmed.type), trimmed)
    try:
        return pc.cast(filled, pa.float64())
    except pa.ArrowException:
        wrong: dict[int, str] = {}
        for index, value in enumerate(filled.to_pylist()):  # slow, but only on the way to an error
            try:
                pc.cast(pa.scalar(value), pa.float64())
            except pa.ArrowException:
                wrong[index] = f"column {name!r} holds {value!r}, which is not a number"
        index = next(iter(wrong))
        hint = "use kind: categorical for text, or strip for units"
        raise RowError(wrong[index], index, hint, wrong) from None


class Moments:
    """Count, mean and standard deviation over blocks; exact for constant columns.

    Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.

    Example:
        >>> moments = Moments()
        >>> moments.add(np.array([1.0, np.nan, 3.0]))
        >>> moments.count, moments.mean, moments.deviation
        (2, 2.0, 1.0)
    """

    def __init__(self) -> None:
        self.count = 0
        self._origin = 0.0
        self._mean = 0.0
        self._squares = 0.0
        self._recorded: list[np.ndarray | tuple[int, float, float]] | None = None

    def add(self, values: np.ndarray) -> None:
        """Add the values of a block, [N]; NaN is ignored."""
        known = values[~np.isnan(values)]
        if not len(known):
            return
        if self._recorded is not None:
            self._recorded.append(self._measure(known) if self.count else known)
            return
        if not self.count:
            self._origin = float(known[0])  # differences from this value are 0 in a constant column
        self._fold(*self._measure(known))

    def _measure(self, known: np.ndarray) -> tuple[int, float, float]:
        """Return count, mean and sum of squares of a block, relative to the origin."""
        with np.errstate(over="ignore", invalid="ignore"):
            shifted = known - self._origin
            mean = float(shifted.mean())
            return len(known), mean, float(np.square(shifted - mean).sum())

    def _fold(self, count: int, mean: float, squares: float) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            total = self.count + count
            delta = mean - self._mean
            self._squares += squares + delta * delta * self.count * count / total
            self._mean += delta * count / total
        self.count = total

    def record(self) -> None:
        """Keep the origin, and measure further blocks one by one; without an origin their values are kept."""
        self._recorded = []

    def partial(self) -> list[np.ndarray | tuple[int, float, float]]:
        """Return the measures of each block since :meth:`record`, or its values if there was no origin."""
        return self._recorded or []

    def merge(self, partial: list[np.ndarray | tuple[int, float, float]]) -> None:
        """Add the blocks of moments with this origin, in their order."""
        for block in partial:
            if isinstance(block, tuple):
                self._fold(*block)
            else:
                self.add(block)

    @property
    def mean(self) -> float:
        """Mean; 0 without any value."""
        return self._origin + self._mean

    @property
    def deviation(self) -> float:
        """Standard deviation of the population; 0 without any value, infinite if squares overflow."""
        value = float(np.sqrt(self._squares / self.count)) if self.count else 0.0
        return value if np.isfinite(value) else float("inf")
