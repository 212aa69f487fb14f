"""Columns with several values per row (lists, delimited text) as flat values and padded matrices."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.arrow.printed_lists import CERTAIN, OPENED, parse_lists
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.errors import DataError


class Flat(NamedTuple):
    """Values of all rows, one after the other.

    Args:
        values: Values, [V].
        rows: Row of each value, [V], ascending.
        total: Number of rows.
    """

    values: pa.Array
    rows: np.ndarray
    total: int


def flatten(
    column: pa.Array, name: str, separator: str = ",", *, regex: bool = False, printed: bool | None = None
) -> Flat:
    """Flatten a column of lists or delimited text; nulls and empty pieces are left out.

    Args:
        column: Lists of scalars, text, or single scalars (lists of one value).
        name: Name of the column, for messages.
        separator: Delimiter in text.
        regex: The separator is a regular expression.
        printed: Text that begins with a bracket is a list printed by Python, JSON or numpy. None: true if the separator
            is a comma or white space. If it is white space, words in brackets are not a list.

    Raises:
        RowError: At text that begins with a bracket and is not a list.
        DataError: If the lists hold lists or structs.

    Example:
        >>> flat = flatten(pa.array(["a,b", None, "c"]), "history")
        >>> flat.values.to_pylist(), flat.rows.tolist()
        (['a', 'b', 'c'], [0, 0, 2])
        >>> flatten(pa.array(["[1, 2]", "['a', 'b']", "[]"]), "history").values.to_pylist()
        ['1', '2', 'a', 'b']
    """
    count = len(column)
    if is_text(column.type):
        printed = "," in separator or separator.isspace() if printed is None else printed
        return _of_text(column, name, separator, regex=regex, printed=printed)
    if pt.is_list(column.type) or pt.is_large_list(column.type) or pt.is_fixed_size_list(column.type):
        values, rows = pc.list_flatten(column), pc.list_parent_indices(column)
        if pt.is_nested(values.type):
            raise DataError(f"column {name!r} holds {column.type}", "lists of single values are needed")
        if is_text(values.type):
            values = pc.utf8_trim_whitespace(values)
            present = pc.and_(pc.is_valid(values), pc.not_equal(values, ""))
        else:
            present = pc.is_valid(values)
    elif pt.is_nested(column.type):
        raise DataError(f"column {name!r} holds {column.type}", "a list or delimited text is needed")
    else:
        values, rows, present = column, pa.array(np.arange(count)), pc.is_valid(column)
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    return Flat(values.filter(present), rows.filter(present).to_numpy().astype(np.int64), count)


def _of_text(column: pa.Array, name: str, separator: str, *, regex: bool, printed: bool) -> Flat:
    """Flatten delimited text and printed lists."""
    places = np.zeros(0, dtype=np.int64)
    if printed:
        opened = pc.fill_null(pc.match_substring_regex(column, CERTAIN if separator.isspace() else OPENED), False)
        places = np.flatnonzero(opened.to_numpy(zero_copy_only=False))
    if len(places):
        try:
            inside, inside_rows = parse_lists(pc.cast(column.take(pa.array(places)), pa.string()), name)
        except RowError as error:
            raise RowError(error.message, int(places[error.index]), error.hint) from None
        column = pc.if_else(opened, pa.scalar(None, column.type), column)
    split = pc.split_pattern_regex if regex else pc.split_pattern
    pieces = split(column, separator)
    values, rows = pc.utf8_trim_whitespace(pc.list_flatten(pieces)), pc.list_parent_indices(pieces)
    present = pc.and_(pc.is_valid(values), pc.not_equal(values, ""))
    values, row_numbers = values.filter(present), rows.filter(present).to_numpy().astype(np.int64)
    if len(places):
        row_numbers = np.concatenate([row_numbers, places[inside_rows]])
        order = np.argsort(row_numbers, kind="stable")
        values = pa.concat_arrays([values, pc.cast(inside, values.type)]).take(pa.array(order))
        row_numbers = row_numbers[order]
    return Flat(values, row_numbers, len(column))


def pad(ids: np.ndarray, rows: np.ndarray, count: int, length: int, *, latest: bool = True) -> np.ndarray:
    """Arrange flat ids in a matrix [count, length], int32, padded with 0 on the right.

    Args:
        ids: Ids of all rows, [V].
        rows: Row of each id, [V], ascending.
        count: Number of rows.
        length: Largest number of ids per row.
        latest: Keep the last ids of a longer row; otherwise the first.

    Example:
        >>> pad(np.array([5, 6, 7, 8]), np.array([0, 0, 0, 2]), 3, 2).tolist()
        [[6, 7], [0, 0], [8, 0]]
    """
    sizes = np.bincount(rows, minlength=count)
    starts = np.cumsum(sizes) - sizes
    dropped = np.maximum(sizes - length, 0) if latest else 0
    place = np.arange(len(rows)) - np.repeat(starts + dropped, sizes)
    result = np.zeros((count, length), dtype=np.int32)
    inside = (place >= 0) & (place < length)
    result[rows[inside], place[inside]] = ids[inside]
    return result
