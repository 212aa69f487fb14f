"""Types of the columns that an expression of a feature reads: values are brought to their types in training."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.columns import Block, column
from mtl_lightning.data.arrow.keys import as_printed, keys, text
from mtl_lightning.data.arrow.numbers import RowError, numbers
from mtl_lightning.data.arrow.times import has_zone, parse_iso, to_utc
from mtl_lightning.data.arrow.types import clean, is_text, is_time

TYPES = {
    "truth": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "time": pa.timestamp("us"),
}
"""Arrow type of each type of a column."""
TRUE, FALSE = pa.array(["true", "True", "TRUE"]), pa.array(["false", "False", "FALSE"])
"""Spellings of truth values in text."""


def read_operand(block: Block, name: str) -> pa.Array:
    """Read a column for an expression, so that files of all formats and requests have the same values.

    NaN and blank text are missing, numbers of 32 bits are those that print alike, and times with a zone are in UTC.

    Args:
        block: Rows of several columns.
        name: Name of the column.

    Raises:
        DataError: If the block has no such column, or several.

    Example:
        >>> read_operand(pa.table({"title": ["Red dress", " ", None]}), "title").to_pylist()
        ['Red dress', None, None]
    """
    values = clean(as_printed(column(block, name)))
    if is_text(values.type):
        blank = pc.equal(pc.utf8_trim_whitespace(values), "")
        return pc.if_else(blank, pa.scalar(None, values.type), values)
    return to_utc(values) if has_zone(values.type) else values


def type_name(kind: pa.DataType) -> str:
    """Return the name of a type, one of :data:`TYPES`; empty for nulls and for lists.

    Example:
        >>> type_name(pa.int8()), type_name(pa.date32()), type_name(pa.null())
        ('integer', 'time', '')
    """
    if pt.is_integer(kind):
        return "integer"
    tests = {"truth": pt.is_boolean, "number": pt.is_floating, "text": is_text, "time": is_time}
    return next((name for name, test in tests.items() if test(kind)), "")


def convert(values: pa.Array, wanted: str, name: str) -> pa.Array:
    """Convert a column to its type in training, [N] → [N]; values that have no such form stay as they are.

    Args:
        values: What :func:`read_operand` returned.
        wanted: Name of the type in training; empty if unknown.
        name: Name of the column, for messages.

    Raises:
        RowError: At text that is not a number, a time or a truth value where training had one.

    Example:
        >>> convert(pa.array(["2024-05-01T13:30:00Z"]), "time", "seen").to_pylist()
        [datetime.datetime(2024, 5, 1, 13, 30)]
        >>> convert(pa.array([7, None]), "text", "genre").to_pylist()
        ['7', None]
    """
    given = type_name(values.type)
    if not wanted or given == wanted:
        return values
    if pt.is_null(values.type):
        return pa.nulls(len(values), TYPES[wanted])
    if wanted == "text" and given:
        return text(keys(values, name))
    if wanted in ("integer", "number"):
        return _as_number(values, given, wanted, name)
    if wanted == "truth" and given == "text":
        spelt = pc.or_(pc.is_in(values, TRUE), pc.is_in(values, FALSE))
        result = pc.if_else(spelt, pc.is_in(values, TRUE), pa.scalar(None, pa.bool_()))
        return _require(result, values, name, "a truth value")
    if wanted == "truth" and given in ("integer", "number"):
        return pc.not_equal(values, 0)
    if wanted == "time" and given == "text":
        return _require(parse_iso(values), values, name, "a time in ISO 8601")
    return values


def _as_number(values: pa.Array, given: str, wanted: str, name: str) -> pa.Array:
    if given == "truth" or (given == "integer" and wanted == "number"):
        return pc.cast(values, TYPES[wanted], safe=False)
    if given == "text":
        floats = numbers(pc.cast(values, pa.string()), name, finite=False)
        values, given = pa.array(floats, mask=np.isnan(floats)), "number"
    if given == "number" and wanted == "integer":
        whole = pc.cast(values, pa.int64(), safe=False)
        exact = pc.all(pc.equal(pc.cast(whole, pa.float64(), safe=False), values)).as_py()
        return values if exact is False else whole
    return values


def _require(converted: pa.Array, values: pa.Array, name: str, wanted: str) -> pa.Array:
    wrong = pc.and_(values.is_valid(), converted.is_null())
    if pc.any(wrong).as_py():
        index = int(pc.index(wrong, True).as_py())
        message = f"column {name!r} holds {values[index].as_py()!r}, which is not {wanted}"
        raise RowError(message, index, "write it as the training rows have it")
    return converted
