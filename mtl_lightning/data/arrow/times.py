"""Times of rows as numbers with the same order."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import Block, column, first_row
from mtl_lightning.data.arrow.keys import INTEGER
from mtl_lightning.data.arrow.time_formats import format_hint, parse_times
from mtl_lightning.data.arrow.types import clean, is_number, is_text, is_time
from mtl_lightning.errors import DataError

ISO = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}(:\d{2}(:\d{2}(\.\d{1,9})?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
"""Dates and times in ISO 8601."""
ISO_OFFSET = r":\d{2}(\.\d+)?(Z|[+-]\d{2}(:?\d{2})?)$"
"""End of a time with an offset from UTC."""
MONTH = r"^(\d{4}-\d{2})$"
"""Months in ISO 8601."""


def has_zone(kind: pa.DataType) -> bool:
    """True for types of times with a zone."""
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None)


def to_utc(values: pa.Array) -> pa.Array:
    """Convert times with a zone to times in UTC without one, [N] → [N]."""
    unit = values.type.unit
    return pc.cast(pc.cast(values, pa.timestamp(unit, "UTC")), pa.timestamp(unit))


def parse_iso(values: pa.Array) -> pa.Array:
    """Parse times in ISO 8601 to microseconds, [N] → [N], in UTC if they have an offset; other text becomes null.

    Args:
        values: Text.

    Example:
        >>> parse_iso(pa.array(["2024-05-31T13:30:05+02:00", "soon"])).to_pylist()
        [datetime.datetime(2024, 5, 31, 11, 30, 5), None]
    """
    values = pc.replace_substring_regex(values, r"(\.\d{6})\d+", r"\1")
    right = pc.match_substring_regex(values, ISO)
    offset = pc.match_substring_regex(values, ISO_OFFSET)
    none = pa.scalar(None, values.type)
    local = pc.if_else(pc.and_(right, pc.invert(offset)), values, none)
    shifted = pc.if_else(pc.and_(right, offset), values, none)
    try:
        utc = to_utc(pc.cast(shifted, pa.timestamp("us", "UTC")))
        return pc.coalesce(pc.cast(local, pa.timestamp("us")), utc)
    except pa.ArrowException:  # dates such as the 31st of February: parse value by value
        if len(values) == 1:
            return pa.nulls(1, pa.timestamp("us"))
        return pa.concat_arrays([parse_iso(values.slice(index, 1)) for index in range(len(values))])


MICROSECONDS = 10**6
"""Units per second of times that are not numbers."""

MONTH = r"^(\d{4}-\d{2})$"


def times_of(
    table: Block, name: str, start: int = 0, text_format: str | None = None, place: str = "split"
) -> np.ndarray:
    """Convert the times of rows to numbers with the same order, [N].

    Text is in ISO 8601 or in the given format. Times with an offset are converted to UTC.

    Args:
        table: The rows.
        name: Name of the column with the time.
        start: Number of the first row, for messages.
        text_format: Format of text and of integers such as 20240531, as in ``strptime``; None for ISO 8601.
        place: Part of the recipe that names the column, for messages.

    Raises:
        DataError: If a time is missing or infinite, values have no order in time, or only some times have a zone; names
            the row.

    Example:
        >>> times_of(pa.table({"day": ["2024-05-02", "2024-05-01", "2024-05-02"]}), "day").tolist()
        [1714608000000000, 1714521600000000, 1714608000000000]
        >>> times_of(pa.table({"day": ["9", "10"]}), "day").tolist()
        [9, 10]
    """
    values = clean(column(table, name))
    if values.null_count:
        raise DataError(f"{place}: the time column {name!r} has no value in row {first_row(pc.is_null(values), start)}")
    if text_format is not None and pa.types.is_integer(values.type):
        values = pc.cast(values, pa.string())  # 20240531
    if is_time(values.type):
        values = pc.cast(values, pa.int64())
    elif is_text(values.type):
        values = _read_text(values, name, start, text_format, place)
    elif not is_number(values.type):
        raise DataError(f"{place}: the time column {name!r} holds {values.type}", "numbers, times or ISO text")
    times = np.asarray(values.to_numpy(zero_copy_only=False))
    if times.dtype.kind == "f" and (infinite := np.isinf(times)).any():
        row = start + int(infinite.argmax())
        raise DataError(f"{place}: the time column {name!r} is infinite in row {row}", "leave the row out")
    return times


def _read_text(values: pa.Array, name: str, start: int, text_format: str | None, place: str) -> pa.Array:
    if text_format is None:
        return _ordered(values, name, start, place)
    return _parsed(values, name, start, text_format, place)


def _ordered(values: pa.Array, name: str, start: int, place: str) -> pa.Array:
    if pc.all(pc.match_substring_regex(values, INTEGER)).as_py():
        return pc.cast(values, pa.int64())
    parsed = parse_iso(pc.replace_substring_regex(values, MONTH, r"\1-01"))
    if parsed.null_count:
        row = first_row(pc.is_null(parsed))
        message = f"{place}: the time column {name!r} holds {values[row].as_py()!r} in row {start + row}"
        raise DataError(
            f"{message}, which is not a time in ISO 8601", format_hint(values[row].as_py(), f"{place}.format")
        )
    _check_zones(values, name, start, place)
    return pc.cast(parsed, pa.int64())


def _check_zones(values: pa.Array, name: str, start: int, place: str) -> None:
    """Refuse times with a zone next to times without one: their order is unknown."""
    with_zone = pc.match_substring_regex(values, ISO_OFFSET)
    if pc.any(with_zone).as_py() and not pc.all(with_zone).as_py():
        first_zoned, first_plain = pc.index(with_zone, True).as_py(), pc.index(with_zone, False).as_py()
        zoned_row = f"a zone in row {start + first_zoned} ({values[first_zoned].as_py()!r})"
        plain_row = f"none in row {start + first_plain} ({values[first_plain].as_py()!r})"
        message = f"{place}: the time column {name!r} has {zoned_row} and {plain_row}"
        raise DataError(message, "write all times with a zone, or all without")


def _parsed(values: pa.Array, name: str, start: int, text_format: str, place: str) -> pa.Array:
    parsed = parse_times(values, text_format)
    if parsed.null_count:
        row = first_row(pc.is_null(parsed))
        message = f"{place}: the time column {name!r} holds {values[row].as_py()!r} in row {start + row}"
        reason = f"{message}, which is not a time in the format {text_format!r}"
        raise DataError(reason, format_hint(values[row].as_py(), f"{place}.format"))
    return pc.cast(parsed, pa.int64())


class Instants(NamedTuple):
    """Times of rows, some of which may be missing.

    Args:
        values: The times, [N] int64 or float64; 0 where missing.
        known: False where missing, [N].
        per_second: Units per second: 1,000,000 for times and dates; 0 where the column holds numbers, whose unit only
            the log knows; None where every row is missing.
    """

    values: np.ndarray
    known: np.ndarray
    per_second: int | None


def instants(table: Block, name: str, start: int = 0, text_format: str | None = None, place: str = "") -> Instants:
    """Times of rows as numbers in one unit, whatever type holds them: numbers stay, times count microseconds.

    Args:
        table: The rows.
        name: The column with the time.
        start: Number of the first row, for messages.
        text_format: As for :func:`times_of`.
        place: As for :func:`times_of`.

    Raises:
        DataError: If the column holds what isn't ordered by time.

    Example:
        >>> instants(pa.table({"day": ["1970-01-02", None]}), "day").values.tolist()
        [86400000000, 0]
        >>> instants(pa.table({"seconds": [1.5, None]}), "seconds")
        Instants(values=array([1.5, 0. ]), known=array([ True, False]), per_second=0)
    """
    values = clean(column(table, name))
    if is_time(values.type):
        values = pc.cast(values, pa.timestamp("us", values.type.tz), safe=False)
    if is_text(values.type):
        values = pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), pa.scalar(None, values.type), values)
    known = values.is_valid().to_numpy(zero_copy_only=False)
    if not known.any():
        kind = np.float64 if pa.types.is_floating(values.type) and text_format is None else np.int64
        return Instants(np.zeros(len(values), dtype=kind), known, None)
    numeric = is_number(values.type) and text_format is None
    if is_text(values.type) and text_format is None:
        numeric = bool(pc.all(pc.match_substring_regex(values, INTEGER)).as_py())
    filled = pc.fill_null(values, values[int(known.argmax())])
    times = np.where(known, times_of(pa.table({name: filled}), name, start, text_format, place), 0)
    times = times.astype(np.float64 if times.dtype.kind == "f" else np.int64)
    return Instants(times, known, 0 if numeric else MICROSECONDS)
