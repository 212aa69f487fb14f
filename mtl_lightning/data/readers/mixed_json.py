"""JSON columns that hold numbers in some lines and text in others, or "" for an empty list: one type, as CSV has it."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from mtl_lightning.data.arrow.mixed import printed
from mtl_lightning.data.arrow.types import is_number, is_text

CHANGED = re.compile(r"Column\(/(.*)\) changed from (\w+) to (\w+) in row (\d+)")
"""How Arrow says that a line holds another type than those before it."""
AS_TEXT, AS_LISTS = "text", "lists"
PAIRS = {
    frozenset({"number", "string"}): AS_TEXT,
    frozenset({"boolean", "string"}): AS_TEXT,
    frozenset({"array", "string"}): AS_LISTS,
}
"""Types that may stand beside each other, and what becomes of them."""


def joined(message: str, names: Mapping[str, str]) -> tuple[str, str] | None:
    """The column of Arrow's message and what it becomes; None if that is impossible, or was tried.

    Example:
        >>> joined("JSON parse error: Column(/user) changed from number to string in row 1", {})
        ('user', 'text')
    """
    found = CHANGED.search(message)
    if found is None or found[1] in names:
        return None
    way = PAIRS.get(frozenset({found[2], found[3]}))
    return None if way is None else (found[1], way)


def joined_types(before: pa.DataType, now: pa.DataType) -> str | None:
    """What becomes of a column that has these types in two parts of a file; None if that is impossible.

    Example:
        >>> joined_types(pa.int64(), pa.string()), joined_types(pa.int64(), pa.list_(pa.int64()))
        ('text', None)
    """
    texts = [is_text(kind) for kind in (before, now)]
    if sum(texts) != 1:
        return None
    other = now if texts[0] else before
    if is_number(other) or pt.is_boolean(other):
        return AS_TEXT
    return AS_LISTS if pt.is_list(other) else None


def rewritten(data: bytes, ways: Mapping[str, str]) -> bytes:
    """Lines in which columns have one type; each stays the line that it was.

    Example:
        >>> rewritten(b'{"a": 7.0, "h": ""}', {"a": "text", "h": "lists"})
        b'{"a": "7", "h": null}'
    """
    if not ways:
        return data
    changes: dict[str, Callable[[Any], Any]] = {name: CHANGES[way] for name, way in ways.items()}
    lines = []
    for line in data.split(b"\n"):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):  # left as it is: Arrow refuses it, and the message names the line
            row = None
        if isinstance(row, dict):
            row = {name: changes[name](value) if name in changes else value for name, value in row.items()}
            line = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")
        lines.append(line)
    return b"\n".join(lines)


CHANGES: dict[str, Callable[[Any], Any]] = {
    AS_TEXT: lambda value: printed(value) if isinstance(value, bool | int | float) else value,
    AS_LISTS: lambda value: None if isinstance(value, str) and not value.strip() else value,
}
"""A value of a column as its one type has it."""
