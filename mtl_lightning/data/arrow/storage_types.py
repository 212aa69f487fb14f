"""Conversion of columns of any Arrow type to types that ``datasets`` can store."""

from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.columns import lists_from_views
from mtl_lightning.data.arrow.types import rebuild


def to_storable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert a column to a type that can be stored, [N] → [N].

    Views and runs are expanded, maps become lists of structs. Types without any equivalent (calendar intervals, unions)
    become text.

    Example:
        >>> interval = pa.array([(1, 2, 3), None], pa.month_day_nano_interval())
        >>> to_storable(pa.chunked_array([interval])).to_pylist()
        ['MonthDayNano(months=1, days=2, nanoseconds=3)', None]
    """
    kind = column.type
    plain = storable_type(kind)
    if plain == kind:
        return column
    if isinstance(kind, pa.BaseExtensionType):
        return to_storable(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if pt.is_run_end_encoded(kind) and plain == kind.value_type:
        return to_storable(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if pt.is_dictionary(kind):
        values = [to_storable(pa.chunked_array([chunk.dictionary])).combine_chunks() for chunk in column.chunks]
        chunks = [value.take(chunk.indices) for value, chunk in zip(values, column.chunks, strict=True)]
        return pa.chunked_array(chunks, plain)
    if pt.is_string_view(kind) or pt.is_binary_view(kind):
        return column.cast(plain)
    if (pt.is_list_view(kind) or pt.is_large_list_view(kind)) and plain.value_type == kind.value_type:
        return pa.chunked_array([lists_from_views(chunk) for chunk in column.chunks], plain)
    return pa.chunked_array([pa.array([_value(value, plain) for value in column.to_pylist()], plain)], plain)


def storable_type(kind: pa.DataType) -> pa.DataType:
    """Type in which values of a type are stored.

    Example:
        >>> storable_type(pa.list_view(pa.string_view())), storable_type(pa.month_day_nano_interval())
        (LargeListType(large_list<item: string>), DataType(string))
    """
    if isinstance(kind, pa.BaseExtensionType):
        return storable_type(kind.storage_type)
    if pt.is_run_end_encoded(kind):
        return storable_type(kind.value_type)
    if pt.is_dictionary(kind):
        inner = storable_type(kind.value_type)
        unchanged = inner == kind.value_type and not pt.is_nested(inner) and not pt.is_null(inner)
        return kind if unchanged else inner
    if pt.is_string_view(kind):
        return pa.string()
    if pt.is_binary_view(kind):
        return pa.binary()
    if pt.is_map(kind):
        pair = pa.struct([("key", storable_type(kind.key_type)), ("value", storable_type(kind.item_type))])
        return pa.list_(pair)
    if pt.is_list_view(kind) or pt.is_large_list_view(kind):
        return storable_type(pa.large_list(kind.value_field))
    if pt.is_nested(kind) and not pt.is_union(kind):
        return rebuild(kind, storable_type)
    return kind if _has_name(kind) else pa.string()


def _has_name(kind: pa.DataType) -> bool:
    """True if ``datasets`` can store a type that is not nested."""
    try:
        datasets.Features.from_arrow_schema(pa.schema([("x", kind)]))
    except ValueError:
        return False
    return True


def _value(value: Any, kind: pa.DataType) -> Any:
    """Convert a Python value to the form that a storable type takes."""
    if value is None:
        return None
    if pt.is_struct(kind):
        pairs = dict(zip(("key", "value"), value, strict=True)) if isinstance(value, tuple) else value
        return {field.name: _value(pairs[field.name], field.type) for field in kind}
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return [_value(item, kind.value_type) for item in value]
    return str(value) if pt.is_string(kind) else value
