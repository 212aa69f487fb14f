"""Times of rows as numbers that can be ordered."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.columns import Block, column, first_row
from mtl_lightning.data.keys import INTEGER
from mtl_lightning.data.operations import clean, is_number, is_text, is_time
from mtl_lightning.errors import DataError

ISO = r"^\d{4}-\d{2}(-\d{2}([ T].*)?)?$"
"""Text whose order is that of time."""


def times_of(table: Block, name: str, start: int = 0) -> np.ndarray:
    """Times of rows: equal where times are equal, larger where they are later, [N].

    Args:
        table: The rows.
        name: The column with the time.
        start: Number of the first row, for messages.

    Raises:
        DataError: If a time is missing, or the column holds what isn't ordered by time: the row is named.

    Example:
        >>> times_of(pa.table({"day": ["2024-05-02", "2024-05-01", "2024-05-02"]}), "day").tolist()
        [2, 1, 2]
        >>> times_of(pa.table({"day": ["9", "10"]}), "day").tolist()
        [9, 10]
    """
    values = clean(column(table, name))
    if values.null_count:
        raise DataError(f"split: the time column {name!r} has no value in row {first_row(pc.is_null(values), start)}")
    if is_time(values.type):
        values = pc.cast(values, pa.int64())
    elif is_text(values.type):
        values = _ordered(values, name, start)
    elif not is_number(values.type):
        raise DataError(f"split: the time column {name!r} holds {values.type}", "numbers, times or ISO text")
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _ordered(values: pa.Array, name: str, start: int) -> pa.Array:
    if pc.all(pc.match_substring_regex(values, INTEGER)).as_py():
        return pc.cast(values, pa.int64())
    right = pc.match_substring_regex(values, ISO)
    if not pc.all(right).as_py():
        row = first_row(pc.invert(right))
        message = f"split: the time column {name!r} holds {values[row].as_py()!r} in row {start + row}"
        raise DataError(message, "as text it isn't ordered by time: write it like 2024-05-31 13:30, or as a number")
    return pc.rank(values, tiebreaker="dense")
