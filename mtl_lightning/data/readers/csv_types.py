"""CSV columns in files of parquet: the type of each by what its cells hold and what reads it."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import WRITTEN
from mtl_lightning.data.arrow.numbers import MISSING
from mtl_lightning.data.readers.uses import Uses

MISSING_TEXT = MISSING[:2]
"""What stands for a missing value in a column of text: NA is Namibia."""
KINDS = {
    "integer": pa.int64(),
    "whole": pa.float64(),
    "number": pa.float64(),
    "truth": pa.bool_(),
    "text": pa.string(),
}
"""What all cells of a column can be, and its type where nothing reads them as they are written."""
WHOLE = r"^(?:0|-?[1-9][0-9]{0,14})(?:\.0+)?$"
"""Whole numbers, as pandas writes them where values are missing; a float64 holds them all."""


class Written(NamedTuple):
    """A column of parquet.

    Args:
        name: Its name.
        column: The CSV column.
        kind: Its type.
        missing: Cells that are null.
        floats: Integers are written as floats.
    """

    name: str
    column: str
    kind: pa.DataType
    missing: list[str]
    floats: bool = False

    def cast(self, cells: pa.Array) -> pa.Array:
        """Cells in this type."""
        nothing = pc.is_in(cells, value_set=pa.array(self.missing))
        values = pc.if_else(nothing, pa.scalar(None, pa.string()), cells)
        if self.floats:
            values = pc.replace_substring_regex(values, r"\.0+$", "")
        return pc.cast(values, self.kind)


def written(kinds: Mapping[str, str], uses: Uses) -> list[Written]:
    """The columns of parquet.

    A column whose cells are numbers is one of numbers, but what is read as written keeps the text of its cells unless
    all are integers, which print as they were. What something else reads as numbers is there in both forms; see
    :func:`mtl_lightning.data.arrow.columns.as_written`.

    Example:
        >>> uses = Uses(tokens=frozenset({"id", "price"}), numbers=frozenset({"price"}))
        >>> [(one.name, str(one.kind)) for one in written({"id": "number", "price": "number", "day": "number"}, uses)]
        [('id', 'string'), ('price', 'double'), ('__written__price', 'string'), ('day', 'double')]
    """
    found = []
    for name, kind in kinds.items():
        own = Written(name, name, KINDS[kind], MISSING_TEXT if kind == "text" else MISSING)
        text = own._replace(kind=pa.string())
        if kind == "text" or name not in changed(kinds, uses):
            found.append(own)
        elif name in uses.lists:
            found.append(text)
        elif name in uses.numbers:
            found += [own] if kind == "whole" else [own, text._replace(name=WRITTEN + name)]
        else:
            found.append(own._replace(kind=pa.int64(), floats=True) if kind == "whole" else text)
    return found


def changed(kinds: Mapping[str, str], uses: Uses) -> list[str]:
    """Columns whose type their use changes, in order."""
    lossy = [name for name, kind in kinds.items() if kind in ("whole", "number", "truth") and name in uses.tokens]
    return sorted({*lossy, *(name for name, kind in kinds.items() if kind != "text" and name in uses.lists)})
