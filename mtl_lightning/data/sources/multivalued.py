"""List columns from text with several values per field."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.lists import flatten


def as_list(column: pa.Array | pa.ChunkedArray, separator: str, kind: pa.DataType | None = None) -> pa.Array:
    """Split text into lists, [N] → [N]; empty pieces are left out, null text becomes an empty list.

    Args:
        column: Text.
        separator: Text between values.
        kind: Type of the values; None for text.

    Example:
        >>> as_list(pa.array(["1,22", "", None, "3"]), ",", pa.int64()).to_pylist()
        [[1, 22], [], [], [3]]
    """
    flat = flatten(_one_chunk(column), "", separator, printed=False)
    offsets = np.zeros(flat.total + 1, dtype=np.int32)
    np.cumsum(np.bincount(flat.rows, minlength=flat.total), out=offsets[1:])
    values = flat.values if kind is None else flat.values.cast(kind)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def words(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Split text into lower-case words, [N] → [N]; all but letters, digits and apostrophes separates words.

    Example:
        >>> words(pa.array(["I LOVE it -- it's great!", None])).to_pylist()
        [['i', 'love', 'it', "it's", 'great'], []]
    """
    plain = pc.replace_substring_regex(pc.utf8_lower(_one_chunk(column)), r"[^\p{L}\p{N}']+", " ")
    return as_list(plain, " ")


def _one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def rows_as_lists(table: pa.Table, kind: pa.DataType) -> pa.Array:
    """Combine the columns of each row into a list without nulls, [N]; lists are empty if there are no columns.

    Args:
        table: Columns of the same type.
        kind: Type of the lists' values.

    Example:
        >>> rows_as_lists(pa.table({"a": [1, None], "b": [2, 3]}), pa.int64()).to_pylist()
        [[1, 2], [3]]
    """
    rows, width = table.num_rows, table.num_columns
    if not width:
        return pa.array([[]], pa.list_(kind)).take(pa.array(np.zeros(rows, dtype=np.int64)))
    stacked = pa.concat_arrays([_one_chunk(column).cast(kind) for column in table.columns])
    flat = stacked.take(pa.array(np.arange(rows * width).reshape(width, rows).T.ravel()))
    valid = flat.is_valid()
    offsets = np.zeros(rows + 1, dtype=np.int32)
    np.cumsum(valid.to_numpy(zero_copy_only=False).reshape(rows, width).sum(axis=1), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), flat.filter(valid))
