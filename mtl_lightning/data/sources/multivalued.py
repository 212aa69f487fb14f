"""Several values in one field of text, as list columns."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.lists import flatten


def as_list(column: pa.Array | pa.ChunkedArray, separator: str, kind: pa.DataType | None = None) -> pa.Array:
    """Lists from delimited text; empty pieces are left out, null text gives an empty list.

    Args:
        column: Text.
        separator: What stands between values.
        kind: Type of the values; None for text.

    Example:
        >>> as_list(pa.array(["1,22", "", None, "3"]), ",", pa.int64()).to_pylist()
        [[1, 22], [], [], [3]]
    """
    flat = flatten(_whole(column), "", separator)
    offsets = np.zeros(flat.total + 1, dtype=np.int32)
    np.cumsum(np.bincount(flat.rows, minlength=flat.total), out=offsets[1:])
    values = flat.values if kind is None else flat.values.cast(kind)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def words(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Lower-case words of a text; whatever is no letter, digit or apostrophe separates them.

    Example:
        >>> words(pa.array(["I LOVE it -- it's great!", None])).to_pylist()
        [['i', 'love', 'it', "it's", 'great'], []]
    """
    plain = pc.replace_substring_regex(pc.utf8_lower(_whole(column)), r"[^\p{L}\p{N}']+", " ")
    return as_list(plain, " ")


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
