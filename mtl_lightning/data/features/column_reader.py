"""Reader of the values of a feature: of a column, or of an expression over columns."""

from collections.abc import Callable

import pyarrow as pa

from mtl_lightning.data.arrow.columns import Block, column, column_chunks
from mtl_lightning.data.expressions.column_types import convert, read_operand, type_name
from mtl_lightning.data.expressions.expression import Expression


class ColumnReader:
    """Reader of a column, or of an expression over columns.

    An expression reads each column in the type that it had in training. A request may therefore hold a time as text, or
    nothing but nulls.

    Args:
        feature: Name of the feature, for messages.
        column: Name of the column.
        expression: Text of the expression, which is read instead of the column; None for the column.

    Raises:
        DataError: If the text is not an expression.

    Example:
        >>> reader = ColumnReader("cheap", "cheap", "price < 10")
        >>> reader.read(pa.table({"price": [5.0, 20.0, None]})).to_pylist()
        [True, False, None]
    """

    def __init__(self, feature: str, column: str, expression: str | None = None) -> None:
        place = f"features.{feature}.expression"
        self.expression = None if expression is None else Expression(expression, place=place)
        self.name = column if expression is None else expression
        """Name of the column, or the text of the expression, for messages."""
        self.types: dict[str, str] = {}
        """Type of each column of the expression in training; see :mod:`mtl_lightning.data.expressions.column_types`."""

    def learn_types(self, block: Block) -> None:
        """Remember the types of the expression's columns, each from the first block in which it has a type."""
        if self.expression is None or len(self.types) == len(self.expression.columns):
            return
        for name in self.expression.require(block):
            if kind := type_name(read_operand(block.slice(0, 0), name).type):
                self.types.setdefault(name, kind)

    def read(self, block: Block, plain: Callable[[Block, str], pa.Array] = column) -> pa.Array:
        """Read the values of a block, [N].

        Args:
            block: Rows of several columns.
            plain: Function that reads a column if there is no expression.

        Raises:
            DataError: If a column is missing or has a wrong type.
        """
        if self.expression is None:
            return plain(block, self.name)
        names = self.expression.require(block)
        values = {name: convert(read_operand(block, name), self.types.get(name, ""), name) for name in names}
        return self.expression.compute(values, block.num_rows)

    def chunks(self, block: Block) -> list[pa.Array]:
        """Read the values of a block in chunks, at least one, which may be dictionaries."""
        return column_chunks(block, self.name) if self.expression is None else [self.read(block)]
