"""Families of Arrow types, and conversion of values to numbers and truth values."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

Value = Any
"""A pyarrow Array or Scalar."""


class OperandError(Exception):
    """Operands of types that an operation doesn't accept.

    Args:
        message: Description of the error.
        hint: Remedy.
        index: Row of a wrong value, or None.
    """

    def __init__(self, message: str, hint: str = "", index: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.index = index


def is_number(kind: pa.DataType) -> bool:
    """True for integers and floats."""
    return bool(pt.is_integer(kind) or pt.is_floating(kind))


def is_text(kind: pa.DataType) -> bool:
    """True for strings with offsets of any width, and for views."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def is_time(kind: pa.DataType) -> bool:
    """True for dates and timestamps."""
    return bool(pt.is_timestamp(kind) or pt.is_date(kind))


def family(kind: pa.DataType) -> str:
    """Name of a type's family, for messages.

    Example:
        >>> family(pa.int8()), family(pa.list_(pa.int8()))
        ('a number', 'list<item: int8>')
    """
    words = {"text": is_text, "a number": is_number, "a truth value": pt.is_boolean, "a time": is_time}
    for word, test in words.items():
        if test(kind):
            return word
    return str(kind)


def rebuild(kind: pa.DataType, convert: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Convert the types inside lists, structs and maps; other types stay as they are.

    Args:
        kind: Any type.
        convert: Conversion of the type of values, fields, keys and items.

    Example:
        >>> rebuild(pa.list_(pa.int8()), lambda inner: pa.int64())
        ListType(list<item: int64>)
    """

    def inner(field: pa.Field) -> pa.Field:
        return field.with_type(convert(field.type))

    if pt.is_list(kind):
        return pa.list_(inner(kind.value_field))
    if pt.is_large_list(kind):
        return pa.large_list(inner(kind.value_field))
    if pt.is_fixed_size_list(kind):
        return pa.list_(inner(kind.value_field), kind.list_size)
    if pt.is_struct(kind):
        return pa.struct([inner(field) for field in kind])
    if pt.is_map(kind):
        return pa.map_(inner(kind.key_field), inner(kind.item_field), keys_sorted=kind.keys_sorted)
    return kind


def clean(values: Value) -> Value:
    """Normalise values: NaN to null, decimals and half floats to float64, string views to strings, dates to timestamps.

    Example:
        >>> clean(pa.array([1.5, float("nan")])).to_pylist()
        [1.5, None]
    """
    kind = values.type
    if pt.is_decimal(kind) or pt.is_float16(kind):
        values = pc.cast(values, pa.float64())
    elif pt.is_string_view(kind):
        values = pc.cast(values, pa.string())
    elif pt.is_date(kind):
        values = pc.cast(values, pa.timestamp("s" if pt.is_date32(kind) else "ms"))
    if pt.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values


def numeric(values: Value) -> Value:
    """Convert values to numbers: integers to 64 bits, truth values to 0 and 1, durations to seconds.

    Raises:
        OperandError: If the type has no numbers.
    """
    kind = values.type
    if pt.is_boolean(kind):
        return pc.cast(values, pa.int64())
    if pt.is_null(kind):
        return pc.cast(values, pa.float64())
    if pt.is_integer(kind) and not pt.is_uint64(kind):
        return pc.cast(values, pa.int64())  # a difference of two uint8 may be negative
    if is_number(kind):
        return values
    if pt.is_duration(kind):
        return seconds(values)
    raise OperandError(f"{family(kind)} where a number is needed")


def real(values: Value) -> Value:
    """Convert values to float64.

    Raises:
        OperandError: If the type has no numbers.
    """
    return pc.cast(numeric(values), pa.float64(), safe=False)


def seconds(values: Value) -> Value:
    """Convert durations to seconds."""
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[values.type.unit]
    return pc.divide(pc.cast(pc.cast(values, pa.int64()), pa.float64(), safe=False), scale)


def truth(values: Value) -> Value:
    """Convert values to truth values; numbers are true unless they are 0.

    Raises:
        OperandError: If the type has no truth values.
    """
    if pt.is_boolean(values.type):
        return values
    return pc.not_equal(numeric(values), 0)
