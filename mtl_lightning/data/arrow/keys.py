"""Values of any type as exact keys: integers stay integers, everything else is text; what prints alike is equal."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.spelling import suspicious
from mtl_lightning.data.arrow.types import clean, is_text
from mtl_lightning.errors import DataError

EXACT = 2**53
"""Up to here every integer is a float64."""
INTEGER = r"^(0|-?[1-9][0-9]{0,18})$"
SPELT = {"": None, "True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
"""Text that a log in another format has as a missing value or a truth value: CSV does."""
LONGEST = max(map(len, SPELT))
WHOLE = r"^(-?[1-9][0-9]{0,17}|-?0)(?:\.0+)?$"
"""Text that is a whole number, perhaps written as a float."""
SPELLED_WHOLE = re.compile(WHOLE.replace("$", r"\Z"), re.ASCII)
LARGEST, SMALLEST = str(2**63 - 1), str(-(2**63))


def keys(values: pa.Array, name: str = "") -> pa.Array:
    """Keys of a column: int64 where every value is a whole number, else strings; null where missing.

    A log read twice may call a column integer here, float there (pandas does so where values are missing) and text
    elsewhere: 7, 7.0, "7", "7.0" and " 7" are one key, "007" is another; 0, -0.0 and "-0.0" are one. True, "True",
    "TRUE" and "true" are one, too. White space around text doesn't count, and empty text is missing.

    Args:
        values: The column.
        name: Its name, for messages.

    Raises:
        DataError: If the column holds lists, structs or bytes that are no text.

    Example:
        >>> keys(pa.array([9007199254740993, None])).to_pylist()
        [9007199254740993, None]
        >>> keys(pa.array([1.0, 2.5, float("nan")])).to_pylist()
        ['1', '2.5', None]
        >>> keys(pa.array([" 7", "7.0", "1.50", "1e3", "-0"])).to_pylist()
        ['7', '7', '1.50', '1e3', '0']
    """
    kind = values.type
    if pt.is_string(kind):
        return spelled(values)
    if pt.is_null(kind):
        return pc.cast(values, pa.int64())
    if pt.is_uint64(kind):
        largest = pc.max(values).as_py()
        return pc.cast(values, pa.int64() if largest is None or largest < 2**63 else pa.string())
    if pt.is_integer(kind):
        return pc.cast(values, pa.int64())
    if pt.is_decimal(kind):
        return _from_decimals(pc.cast(values, pa.string()))
    if pt.is_floating(kind):
        return _from_floats(pc.cast(clean(as_printed(values)), pa.float64()))
    if pt.is_nested(kind):
        hint = "make a column of each of its values" if pt.is_struct(kind) else "use kind: sequence for lists"
        raise DataError(f"column {name!r} holds {kind}", hint)
    try:
        printed = pc.cast(values, pa.string())
    except pa.ArrowException as error:
        raise DataError(f"column {name!r} holds {kind} that is no text: {str(error).splitlines()[0]}") from error
    # A time is the same in seconds as in microseconds.
    return pc.replace_substring_regex(printed, r"\.0+(Z?)$", r"\1") if pt.is_timestamp(kind) else spelled(printed)


def spelled(values: pa.Array) -> pa.Array:
    """Text in the one spelling of its key; the same array if all of it is."""
    suspects = suspicious(values)
    if len(suspects):
        usual = _unpadded(values.take(pa.array(suspects)))
        mask = np.zeros(len(values), dtype=bool)
        mask[suspects] = True
        values = pc.replace_with_mask(values, pa.array(mask), usual)
    shortest = pc.min(pc.binary_length(values)).as_py()
    if shortest is None or shortest > LONGEST:
        return values
    found = pc.index_in(values, value_set=pa.array(list(SPELT)), skip_nulls=True)
    if found.null_count == len(values):
        return values
    return pc.if_else(found.is_valid(), pa.array(SPELT.values(), pa.string()).take(found), values)


def _unpadded(values: pa.Array) -> pa.Array:
    """Text without white space around it and without the zeros of a whole number."""
    whole = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), WHOLE, r"\1")
    return pc.if_else(pc.equal(whole, "-0"), "0", whole)


def spell(value: str) -> str | None:
    """One text in the spelling of its key, as :func:`spelled` has it.

    Example:
        >>> spell(" 7.00"), spell("TRUE"), spell(" ")
        ('7', 'true', None)
    """
    trimmed = value.strip()
    if (found := SPELLED_WHOLE.fullmatch(trimmed)) is not None:
        return "0" if found[1] == "-0" else found[1]
    return SPELT.get(trimmed, trimmed)


def as_printed(values: pa.Array) -> pa.Array:
    """Floats of 32 bits as the float64 that prints like them, 0.1 as 0.1; other values as they are.

    A log may hold them where a request has the number as it is written.

    Example:
        >>> as_printed(pa.array([0.1], pa.float32())).to_pylist()
        [0.1]
    """
    if not pt.is_float32(values.type):
        return values
    return pc.cast(pc.cast(values, pa.string()), pa.float64())


def _from_decimals(printed: pa.Array) -> pa.Array:
    shortest = pc.replace_substring_regex(printed, r"(\.\d*?)0+$", r"\1")
    shortest = pc.replace_substring_regex(shortest, r"\.$", "")
    whole = integers(shortest)
    return whole if whole.null_count == printed.null_count else shortest


def _from_floats(values: pa.Array) -> pa.Array:
    whole = pc.and_(pc.equal(pc.floor(values), values), pc.less_equal(pc.abs(values), EXACT))
    none = pa.scalar(None, pa.float64())
    integers = pc.cast(pc.if_else(whole, values, none), pa.int64())
    if integers.null_count == values.null_count:
        return integers
    return pc.coalesce(text(integers), pc.cast(pc.if_else(whole, none, values), pa.string()))


def text(values: pa.Array) -> pa.Array:
    """Keys as text."""
    return values if is_text(values.type) else pc.cast(values, pa.string())


def integers(values: pa.Array) -> pa.Array:
    """Text keys as int64 where they print as one; null elsewhere.

    Example:
        >>> integers(pa.array(["7", "007", "9223372036854775808", "-3", "x"])).to_pylist()
        [7, None, None, -3, None]
    """
    length = pc.utf8_length(values)
    negative = pc.starts_with(values, "-")
    fits = pc.or_(
        pc.less(length, pc.if_else(negative, len(SMALLEST), len(LARGEST))),
        pc.less_equal(values, pc.if_else(negative, pa.scalar(SMALLEST), pa.scalar(LARGEST))),
    )
    right = pc.and_(pc.match_substring_regex(values, INTEGER), fits)
    return pc.cast(pc.if_else(right, values, pa.scalar(None, values.type)), pa.int64())
