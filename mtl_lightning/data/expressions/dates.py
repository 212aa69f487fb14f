"""Functions of expressions that read times: parts such as the hour, and text as a time."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.times import has_zone, parse_iso, to_utc
from mtl_lightning.data.arrow.types import OperandError, Value, clean, family, is_number, is_text, is_time

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Number of units in a second."""
LAST = 253_402_300_799.0
"""Last second of the year 9999, in seconds since 1970."""


def time(values: Value, unit: Value | None = None) -> Value:
    """Read times, text in ISO 8601 or numbers since 1970 as times in UTC without a zone.

    Args:
        values: The values.
        unit: Constant text with the unit of numbers: ``s`` (default), ``ms``, ``us`` or ``ns``.

    Raises:
        OperandError: If a value is not a time.

    Example:
        >>> time(pa.array(["2024-05-01T13:30:00+02:00", None])).to_pylist()
        [datetime.datetime(2024, 5, 1, 11, 30), None]
    """
    if isinstance(values, pa.Scalar):
        return time(pa.array([values.as_py()], values.type), unit)[0]
    units = "s" if unit is None else unit.as_py() if isinstance(unit, pa.Scalar) else None
    if units not in UNITS:
        raise OperandError(f"the unit of a time is {units!r}", 'one of "s", "ms", "us", "ns"')
    if is_time(values.type):
        stamps = clean(values)
        return to_utc(stamps) if has_zone(stamps.type) else stamps
    if pt.is_null(values.type):
        return pa.nulls(len(values), pa.timestamp("us"))
    if is_text(values.type):
        parsed = parse_iso(values)
        _refuse(pc.and_(values.is_valid(), parsed.is_null()), values, "is not a time in ISO 8601", "")
        return parsed
    if not is_number(values.type):
        raise OperandError(f"{family(values.type)} where a time is needed")
    floats = pc.cast(values, pa.float64(), safe=False)
    far = pc.greater(pc.abs(floats), LAST * UNITS[units])
    _refuse(far, values, f"is not a time in {units}", 'write the unit of the numbers: hour(time, "ms")')
    whole = values if pt.is_integer(values.type) else pc.floor(floats)
    return pc.cast(pc.cast(whole, pa.int64(), safe=False), pa.timestamp(units))


def _refuse(wrong: Value, values: Value, reason: str, hint: str) -> None:
    if pc.any(wrong).as_py():
        index = int(pc.index(pc.fill_null(wrong, False), True).as_py())
        raise OperandError(f"{values[index].as_py()!r} {reason}", hint, index)


def part_of_time(compute: Callable[[Value], Value]) -> Callable[..., Value]:
    """Return a function from times, and the unit of numbers, to integers."""
    return lambda values, unit=None: pc.cast(compute(time(values, unit)), pa.int64())
