"""JSON columns with numbers in some lines and text in others, or with "" for an empty list, as one type."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from mtl_lightning.data.arrow.mixed_types import print_value
from mtl_lightning.data.arrow.types import is_number, is_text

CHANGED = re.compile(r"Column\(/(.*)\) changed from (\w+) to (\w+) in row (\d+)")
"""Arrow's message about a line whose type differs from those before it."""
AS_TEXT, AS_LISTS = "text", "lists"
"""Resolutions: numbers and truth values become text; empty text becomes a missing list."""
PAIRS = {
    frozenset({"number", "string"}): AS_TEXT,
    frozenset({"boolean", "string"}): AS_TEXT,
    frozenset({"array", "string"}): AS_LISTS,
}
"""Resolution of pairs of types that a column may mix."""


def resolve_message(message: str, names: Mapping[str, str]) -> tuple[str, str] | None:
    """Resolve a column that mixes types, by Arrow's message.

    Args:
        message: Arrow's message.
        names: Columns that are resolved already.

    Returns:
        The column and its resolution; None if there is no resolution, or the column is resolved already.

    Example:
        >>> resolve_message("JSON parse error: Column(/user) changed from number to string in row 1", {})
        ('user', 'text')
    """
    match = CHANGED.search(message)
    if match is None or match[1] in names:
        return None
    resolution = PAIRS.get(frozenset({match[2], match[3]}))
    return None if resolution is None else (match[1], resolution)


def resolve_types(before: pa.DataType, now: pa.DataType) -> str | None:
    """Resolve a column with different types in two parts of a file; None if there is no need or no resolution.

    Args:
        before: Type in the first part.
        now: Type in the second part.

    Example:
        >>> resolve_types(pa.int64(), pa.string()), resolve_types(pa.int64(), pa.list_(pa.int64()))
        ('text', None)
    """
    texts = [is_text(kind) for kind in (before, now)]
    if sum(texts) != 1:
        return None
    other = now if texts[0] else before
    if is_number(other) or pt.is_boolean(other):
        return AS_TEXT
    return AS_LISTS if pt.is_list(other) else None


def rewrite_lines(data: bytes, resolutions: Mapping[str, str]) -> bytes:
    """Rewrite lines so that each column has one type; the numbers of lines stay the same.

    Args:
        data: JSON lines.
        resolutions: Resolution of each column that mixes types.

    Example:
        >>> rewrite_lines(b'{"a": 7.0, "h": ""}', {"a": "text", "h": "lists"})
        b'{"a": "7", "h": null}'
    """
    if not resolutions:
        return data
    changes: dict[str, Callable[[Any], Any]] = {name: CHANGES[resolution] for name, resolution in resolutions.items()}
    lines = []
    for line in data.split(b"\n"):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):  # unchanged: Arrow refuses it, and the message names the line
            row = None
        if isinstance(row, dict):
            row = {name: changes[name](value) if name in changes else value for name, value in row.items()}
            line = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")
        lines.append(line)
    return b"\n".join(lines)


CHANGES: dict[str, Callable[[Any], Any]] = {
    AS_TEXT: lambda value: print_value(value) if isinstance(value, bool | int | float) else value,
    AS_LISTS: lambda value: None if isinstance(value, str) and not value.strip() else value,
}
"""Conversion of a value by the resolution of its column."""
