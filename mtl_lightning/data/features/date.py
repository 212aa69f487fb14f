"""Dates: the hour, the weekday and other parts of a time as ids."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block, as_written, column
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.arrow.time_formats import check_format, format_hint, parse_times
from mtl_lightning.data.arrow.times import has_zone, parse_iso, to_utc
from mtl_lightning.data.arrow.types import clean, is_number, is_text, is_time
from mtl_lightning.data.expressions.dates import LAST, UNITS
from mtl_lightning.data.features.base import (
    ColumnFeature,
    ColumnTransform,
    StatelessTransform,
    Transform,
    check,
    check_expression,
)
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.errors import DataError, did_you_mean
from mtl_lightning.schema import PADDING, Field

FARTHEST = 1000
"""Largest number of hours by which times may be shifted."""

PARTS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "hour": (24, pc.hour),
    "weekday": (7, pc.day_of_week),
    "hour_of_week": (168, lambda times: pc.add(pc.multiply(pc.day_of_week(times), 24), pc.hour(times))),
    "day": (31, lambda times: pc.subtract(pc.day(times), 1)),
    "day_of_year": (366, lambda times: pc.subtract(pc.day_of_year(times), 1)),
    "week": (53, lambda times: pc.subtract(pc.iso_week(times), 1)),
    "month": (12, lambda times: pc.subtract(pc.month(times), 1)),
}
"""Parts of a time: number of values, and the function from times to values, which count from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Date(ColumnFeature):
    """A part of a time as a category; nothing is fitted.

    Args:
        column: Raw column with times, numbers since 1970 or text; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        part: ``hour``, ``weekday`` (Monday first), ``hour_of_week``, ``day``, ``day_of_year``, ``week`` or ``month``.
        unit: Unit of numbers: ``s``, ``ms``, ``us`` or ``ns``.
        format: Format of text as in ``strptime``, such as ``%m/%d/%Y %I:%M:%S %p``. It may hold ``%f`` for a fraction
            of a second and ``%z`` for an offset from UTC. Integers such as 20240531 are read as text, too
            (``%Y%m%d``). None for ISO 8601 and numbers since 1970.
        offset: Hours to add, between -1000 and 1000, if the log is in another time zone.

    Raises:
        DataError: If an option is unknown; while encoding, if text is not a time.

    Example:
        >>> hour = Date(part="hour").build("time", {})
        >>> hour.encode(pa.table({"time": ["2024-05-01 13:30:00", None]})).tolist()
        [15, 0]
    """

    kind: ClassVar[str] = "date"
    makes: ClassVar[str] = "categorical"
    column: str | None = None
    expression: str | None = None
    part: str = "hour"
    unit: str = "s"
    format: str | None = None
    offset: float = 0.0

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        for name, value, choices in (("part", self.part, PARTS), ("unit", self.unit, UNITS)):
            hint = did_you_mean(str(value), choices)
            check(value in choices, f"{name} is {value!r}", hint)
        if self.format is not None:
            check_format(self.format, "format")
        check(abs(self.offset) <= FARTHEST, f"offset is {self.offset:g} hours", f"{-FARTHEST} to {FARTHEST}")

    @override
    def tokens(self, name: str) -> tuple[str, ...]:
        """Return the column if there is a format: with ``%Y.%m``, 2024.10 is October, not the number 2024.1."""
        return () if self.format is None or self.expression is not None else self.columns(name)

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "DateTransform":
        return DateTransform(name, self)


class DateTransform(ColumnTransform[Date], StatelessTransform):
    """Ids of a part of a time.

    Args:
        name: Name of the feature.
        feature: Its options.
    """

    def __init__(self, name: str, feature: Date) -> None:
        super().__init__(name, feature)
        self.size, self.compute = PARTS[feature.part]

    @override
    def field(self) -> Field:
        return Field(name=self.name, kind="categorical", size=self.size + FIRST, table=self.name)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as ids, [B] int32."""
        read = column if self.feature.format is None else as_written
        times = self._times(clean(self.reader.read(block, read)))
        if self.feature.offset:
            shift = pa.scalar(round(self.feature.offset * 3600), pa.duration("s"))
            times = pc.add(times, pc.cast(shift, pa.duration(times.type.unit)))
        part = pc.cast(self.compute(times), pa.int32()).fill_null(PADDING - FIRST)
        return np.asarray(part.to_numpy(zero_copy_only=False)) + np.int32(FIRST)

    def _check_unit(self, values: pa.Array) -> None:
        """Refuse numbers beyond the year 9999: they are in another unit than the recipe says."""
        far = pc.greater(pc.abs(pc.cast(values, pa.float64(), safe=False)), LAST * UNITS[self.feature.unit])
        if pc.any(far).as_py():
            index = pc.index(far, True).as_py()
            message = (
                f"column {self.column!r} holds {values[index].as_py()}, which is not a time in {self.feature.unit}"
            )
            raise RowError(message, index, f"set unit: {', '.join(UNITS)}")

    def _times(self, values: pa.Array) -> pa.Array:
        if is_time(values.type):
            return to_utc(values) if has_zone(values.type) else values
        if self.feature.format is not None and pa.types.is_integer(values.type):
            values = pc.cast(values, pa.string())  # 20240531
        if is_number(values.type) or pa.types.is_null(values.type):
            self._check_unit(values)
            whole = pc.cast(pc.floor(pc.cast(values, pa.float64(), safe=False)), pa.int64(), safe=False)
            exact = values if pa.types.is_integer(values.type) else whole
            return pc.cast(pc.cast(exact, pa.int64()), pa.timestamp(self.feature.unit))
        if not is_text(values.type):
            raise DataError(f"column {self.column!r} holds {values.type}, not times")
        text_format = self.feature.format
        parsed = parse_iso(values) if text_format is None else parse_times(values, text_format)
        wrong = pc.and_(pc.is_valid(values), pc.is_null(parsed))
        if pc.any(wrong).as_py():
            index = pc.index(wrong, True).as_py()
            expected = "" if text_format is None else f" of the format {text_format!r}"
            message = f"column {self.column!r} holds {values[index].as_py()!r}, which is not a time{expected}"
            raise RowError(message, index, format_hint(values[index].as_py(), f"features.{self.name}.format"))
        return parsed
