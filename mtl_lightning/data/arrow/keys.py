"""Exact keys of values of any type: integers or text, so that values which print alike are equal."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.spelling import find_suspects
from mtl_lightning.data.arrow.types import clean, is_text
from mtl_lightning.errors import DataError

EXACT = 2**53
"""Largest integer up to which float64 represents every integer."""
INTEGER = r"^(0|-?[1-9][0-9]{0,18})$"
"""Text that prints as an integer; it may exceed 64 bits."""
SPELT = {"": None, "True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
"""Spellings that other formats (CSV) use for missing and Boolean values."""
LONGEST = max(map(len, SPELT))
"""Length of the longest of these spellings."""
WHOLE = r"^(-?[1-9][0-9]{0,17}|-?0)(?:\.0+)?$"
"""Text that is a whole number, possibly written as a float."""
SPELLED_WHOLE = re.compile(WHOLE.replace("$", r"\Z"), re.ASCII)
"""The same for Python's ``re``."""
LARGEST, SMALLEST = str(2**63 - 1), str(-(2**63))
"""Bounds of 64-bit integers, as text."""


def keys(values: pa.Array, name: str = "") -> pa.Array:
    """Convert a column to keys, [N] → [N]: int64 if all values are whole numbers, otherwise text; null if missing.

    The same ids may be integers in one log, floats in another (pandas converts columns with missing values) and text in
    a third. Therefore values that print alike are equal:

    - 7, 7.0, "7", "7.0" and " 7" are one key; "007" is another one.
    - 0, -0.0 and "-0.0" are one key.
    - True, "True", "TRUE" and "true" are one key.
    - White space around text is ignored, and empty text is missing.

    Args:
        values: The column.
        name: Name of the column, for messages.

    Raises:
        DataError: If the column holds lists, structs or bytes that are not text.

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
        return canonical_text(values)
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
        raise DataError(f"column {name!r} holds {kind} that is not text: {str(error).splitlines()[0]}") from error
    # Equal times have equal keys, whether in seconds or in microseconds.
    return (
        pc.replace_substring_regex(printed, r"\.0+(Z?)$", r"\1") if pt.is_timestamp(kind) else canonical_text(printed)
    )


def canonical_text(values: pa.Array) -> pa.Array:
    """Convert text to the canonical spelling of its keys, [N] → [N]; returns the same array if nothing changes.

    Example:
        >>> canonical_text(pa.array([" 7.0", "TRUE", ""])).to_pylist()
        ['7', 'true', None]
    """
    suspects = find_suspects(values)
    if len(suspects):
        usual = _unpadded(values.take(pa.array(suspects)))
        mask = np.zeros(len(values), dtype=bool)
        mask[suspects] = True
        values = pc.replace_with_mask(values, pa.array(mask), usual)
    shortest = pc.min(pc.binary_length(values)).as_py()
    if shortest is None or shortest > LONGEST:
        return values
    spellings = pc.index_in(values, value_set=pa.array(list(SPELT)), skip_nulls=True)
    if spellings.null_count == len(values):
        return values
    return pc.if_else(spellings.is_valid(), pa.array(SPELT.values(), pa.string()).take(spellings), values)


def _unpadded(values: pa.Array) -> pa.Array:
    """Text without surrounding white space; whole numbers without decimals."""
    whole = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), WHOLE, r"\1")
    return pc.if_else(pc.equal(whole, "-0"), "0", whole)


def canonical_spelling(value: str) -> str | None:
    """Convert a single text as :func:`canonical_text` does; None if it is missing.

    Example:
        >>> canonical_spelling(" 7.00"), canonical_spelling("TRUE"), canonical_spelling(" ")
        ('7', 'true', None)
    """
    trimmed = value.strip()
    if (match := SPELLED_WHOLE.fullmatch(trimmed)) is not None:
        return "0" if match[1] == "-0" else match[1]
    return SPELT.get(trimmed, trimmed)


def as_printed(values: pa.Array) -> pa.Array:
    """Convert float32 to the float64 that prints alike (0.1 to 0.1); other types are unchanged.

    A log may store in 32 bits what a request writes as 0.1.

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
    """Convert keys to text, [N] → [N]."""
    return values if is_text(values.type) else pc.cast(values, pa.string())


def integers(values: pa.Array) -> pa.Array:
    """Convert text keys that print as int64 to integers, [N] → [N]; all others become null.

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
