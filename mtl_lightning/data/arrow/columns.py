"""Access to columns of Arrow blocks by name; errors name the column."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.errors import DataError, did_you_mean

Block: TypeAlias = "pa.Table | pa.RecordBatch"
"""Rows of several columns."""
WRITTEN = "__written__"
"""Prefix of the name of a column with the original text of a column of numbers."""


def column(block: Block, name: str) -> pa.Array:
    """Get a column as a plain array: chunks combined, dictionaries decoded, extension types stripped.

    Args:
        block: Rows of several columns.
        name: Name of the column.

    Raises:
        DataError: If the block has no such column, or several.

    Example:
        >>> column(pa.table({"x": ["a", "b"]}), "x").to_pylist()
        ['a', 'b']
    """
    return plain(_only(block, name))


def as_written(block: Block, name: str) -> pa.Array:
    """Get a column as :func:`column` does, with the original text where a CSV column is stored in both forms.

    Args:
        block: Rows of several columns.
        name: Name of the column.

    Raises:
        DataError: If the block has no such column, or several.

    Example:
        >>> as_written(pa.table({"v": [1.5, 1.5], "__written__v": ["1.50", "1.5"]}), "v").to_pylist()
        ['1.50', '1.5']
    """
    return column(block, _written(block, name))


def _written(block: Block, name: str) -> str:
    return WRITTEN + name if WRITTEN + name in block.schema.names else name


def column_chunks(block: Block, name: str) -> list[pa.Array]:
    """Get a column as :func:`as_written` does, in chunks (at least one) that keep their dictionaries.

    Args:
        block: Rows of several columns.
        name: Name of the column.

    Raises:
        DataError: If the block has no such column, or several.
    """
    values = _only(block, _written(block, name))
    if not pa.types.is_dictionary(values.type):
        return [plain(values)]
    if not isinstance(values, pa.ChunkedArray):
        return [values]
    return values.chunks or [values.combine_chunks()]


def _only(block: Block, name: str) -> pa.Array | pa.ChunkedArray:
    matches = block.schema.get_all_field_indices(name)
    if len(matches) != 1:
        if matches:
            raise DataError(f"there are {len(matches)} columns called {name!r}", "rename all but one")
        raise DataError(f"no column {name!r}", did_you_mean(name, block.schema.names))
    return block.column(matches[0])


def plain(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Combine chunks, decode dictionaries and strip extension types.

    Example:
        >>> plain(pa.chunked_array([["a"], ["b"]]).dictionary_encode()).to_pylist()
        ['a', 'b']
    """
    array = combine_chunks(values)
    if isinstance(array, pa.ChunkedArray):  # too large for one array of 32-bit offsets
        array = pa.concat_arrays(array.cast(pa.large_string()).chunks)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type):
        array = lists_from_views(array)
    return without_views(array)


def without_views(values: pa.Array) -> pa.Array:
    """Convert views of text to text, also in lists, because Arrow has few functions for views (pyarrow 26).

    Example:
        >>> without_views(pa.array([["a"]], pa.list_(pa.string_view()))).type
        ListType(list<item: string>)
    """
    kind = values.type
    inner = kind.value_type if hasattr(kind, "value_field") else kind
    if not (pa.types.is_string_view(inner) or pa.types.is_binary_view(inner)):
        return values
    flat = pa.string() if pa.types.is_string_view(inner) else pa.binary()
    if inner is kind:
        return values.cast(flat)
    if pa.types.is_fixed_size_list(kind):
        return values.cast(pa.list_(flat, kind.list_size))
    return values.cast(pa.large_list(flat) if pa.types.is_large_list(kind) else pa.list_(flat))


def lists_from_views(views: pa.Array) -> pa.Array:
    """Convert list views to lists; Arrow's cast gives lists with wrong offsets (pyarrow 26).

    Example:
        >>> lists_from_views(pa.array([["a"], None, []], pa.list_view(pa.string()))).to_pylist()
        [['a'], None, []]
    """
    lengths = pc.fill_null(pc.list_value_length(views), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, views.flatten(), mask=views.is_null())


def combine_chunks(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Combine chunks into one array, without a copy of a single chunk unless its type is nested."""
    if not isinstance(values, pa.ChunkedArray):
        return values
    if values.num_chunks == 1 and not pa.types.is_nested(values.type):
        return values.chunk(0)
    return values.combine_chunks()


def first_row(condition: pa.Array, start: int = 0) -> int:
    """Number of the first row where a condition is true, counted from ``start``.

    Example:
        >>> first_row(pa.array([False, None, True]), start=10)
        12
    """
    return start + int(pc.index(pc.fill_null(condition, False), True).as_py())


def require(block_names: Sequence[str], required: Iterable[str], place: str) -> None:
    """Check that columns exist.

    Args:
        block_names: Names of the existing columns.
        required: Names of the required columns.
        place: Name of the rows, for the error.

    Raises:
        DataError: If a column is missing; names the first one.

    Example:
        >>> require(["user", "item"], ["usr"], "log.csv")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: log.csv: no column 'usr' (did you mean 'user'?)
    """
    names = set(block_names)
    for name in required:
        if name not in names:
            raise DataError(f"{place}: no column {name!r}", did_you_mean(name, names) or f"columns: {listing(names)}")


def repeated_names(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, sorted.

    Example:
        >>> repeated_names(["b", "a", "b", "a", "c"])
        ['a', 'b']
    """
    return sorted(name for name, count in Counter(names).items() if count > 1)


def listing(names: Iterable[str], most: int = 20) -> str:
    """Names as text, sorted, at most ``most`` of them.

    Example:
        >>> listing(["b", "c", "a"], most=2)
        'a, b and 1 more'
    """
    ordered = sorted(names)
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")
