"""Types of CSV columns in parquet, which depend on the columns' cells and uses."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import WRITTEN
from mtl_lightning.data.arrow.numbers import MISSING
from mtl_lightning.data.readers.uses import Uses

MISSING_TEXT = MISSING[:2]
"""Spellings of a missing value in a column of text, where NA may be Namibia."""
KINDS = {
    "integer": pa.int64(),
    "whole": pa.float64(),
    "number": pa.float64(),
    "truth": pa.bool_(),
    "text": pa.string(),
}
"""Kinds of columns, with their types unless cells are read as written."""
WHOLE = r"^(?:0|-?[1-9][0-9]{0,14})(?:\.0+)?$"
"""Whole numbers that a float64 represents, as pandas writes them in columns with missing values."""


class ParquetColumn(NamedTuple):
    """A column of a parquet file.

    Args:
        name: Name of the column.
        column: Name of the CSV column.
        kind: Type of the column.
        missing: Spellings of a missing value.
        floats: Integers are written as floats (7.0).
    """

    name: str
    column: str
    kind: pa.DataType
    missing: list[str]
    floats: bool = False

    def cast(self, cells: pa.Array) -> pa.Array:
        """Convert text cells to the column's type, [N] → [N]."""
        nothing = pc.is_in(cells, value_set=pa.array(self.missing))
        values = pc.if_else(nothing, pa.scalar(None, pa.string()), cells)
        if self.floats:
            values = pc.replace_substring_regex(values, r"\.0+$", "")
        return pc.cast(values, self.kind)


def plan_columns(kinds: Mapping[str, str], uses: Uses) -> list[ParquetColumn]:
    """Plan the columns of parquet files.

    A column of numbers keeps the text of its cells if it is read as written, unless all are integers, whose text can be
    restored. A column read both as written and as numbers is stored in both forms; see
    :func:`mtl_lightning.data.arrow.columns.as_written`.

    Args:
        kinds: Kind of each CSV column, one of :data:`KINDS`.
        uses: Uses of the columns.

    Example:
        >>> uses = Uses(tokens=frozenset({"id", "price"}), numbers=frozenset({"price"}))
        >>> kinds = {"id": "number", "price": "number", "day": "number"}
        >>> [(column.name, str(column.kind)) for column in plan_columns(kinds, uses)]
        [('id', 'string'), ('price', 'double'), ('__written__price', 'string'), ('day', 'double')]
    """
    columns = []
    for name, kind in kinds.items():
        own = ParquetColumn(name, name, KINDS[kind], MISSING_TEXT if kind == "text" else MISSING)
        text = own._replace(kind=pa.string())
        if kind == "text" or name not in find_retyped(kinds, uses):
            columns.append(own)
        elif name in uses.lists:
            columns.append(text)
        elif name in uses.numbers:
            columns += [own] if kind == "whole" else [own, text._replace(name=WRITTEN + name)]
        else:
            columns.append(own._replace(kind=pa.int64(), floats=True) if kind == "whole" else text)
    return columns


def find_retyped(kinds: Mapping[str, str], uses: Uses) -> list[str]:
    """Names of the columns whose type depends on their use, sorted."""
    lossy = [name for name, kind in kinds.items() if kind in ("whole", "number", "truth") and name in uses.tokens]
    return sorted({*lossy, *(name for name, kind in kinds.items() if kind != "text" and name in uses.lists)})
