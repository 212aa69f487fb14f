"""Expressions over raw columns (``rating >= 4``), parsed into a closed set of operations and never executed."""

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import column
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.arrow.types import OperandError, clean, truth
from mtl_lightning.data.expressions import operations as op
from mtl_lightning.data.expressions.functions import FUNCTIONS
from mtl_lightning.data.expressions.hints import QUOTED, backticks_hint, syntax_hint
from mtl_lightning.errors import DataError, did_you_mean

LONGEST = 2000
"""Largest number of characters."""
DEEPEST = 100
"""Deepest level of nested operations, far below the limit of Python's stack."""
POWERS = re.compile(r"'[^']*'|\"[^\"]*\"|\^")
"""Strings, which are left alone, and the operator ``^``."""

Value = Any
"""A pyarrow Array or Scalar."""
Node = Callable[[Mapping[str, pa.Array]], Value]
"""A part of an expression: a function of its columns."""

COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], Value]] = {
    ast.Eq: op.comparison("=="),
    ast.NotEq: op.comparison("!="),
    ast.Lt: op.comparison("<"),
    ast.LtE: op.comparison("<="),
    ast.Gt: op.comparison(">"),
    ast.GtE: op.comparison(">="),
}

ARITHMETIC: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: op.add,
    ast.Sub: op.subtract,
    ast.Mult: op.multiply,
    ast.Div: op.divide,
    ast.FloorDiv: op.floor_divide,
    ast.Mod: op.modulo,
    ast.Pow: op.power,
}


class Expression:
    """A parsed expression, evaluated on whole columns.

    An expression may contain:

    - columns, in backticks if the name is not an identifier;
    - numbers, strings, True and False;
    - ``and``, ``or``, ``not``, and ``in`` with a list of constants;
    - comparisons, possibly chained; numbers can't be compared with text;
    - ``+ - * / // % **`` (or ``^``);
    - the functions of :data:`~mtl_lightning.data.expressions.functions.FUNCTIONS`.

    Nulls and NaN are unknown values. Comparisons and arithmetic with them are unknown, and so is a division by zero;
    ``and`` and ``or`` follow Kleene's logic; ``is_null(x)`` tests for them.

    Args:
        text: The expression.
        known: Names of the columns, if available. A text equal to one of them means that column.
        place: Setting with the expression (``tasks.click.label``), for messages.

    Raises:
        DataError: If the text is not such an expression, or evaluation meets a missing column or a wrong type.

    Example:
        >>> table = pa.table({"rating": [5, 3, None], "user id": [1, 2, 3]})
        >>> Expression("rating >= 4").evaluate(table).to_pylist()
        [True, False, None]
        >>> Expression("`user id` in [1, 3] or rating == 3").columns
        ('user id', 'rating')
        >>> Expression("rating = 4")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: 'rating = 4' is not an expression (write == to compare)
    """

    def __init__(self, text: str, known: Collection[str] = (), place: str = "") -> None:
        self.text = text
        self.place = place
        self.known = known
        self._names: dict[str, None] = {}
        self._quoted: list[str] = []
        plain = text.strip()
        if plain in known:
            self._node: Node = self._column(plain)
        else:
            self._node = self._compile(self._parse(plain))
        self.columns: tuple[str, ...] = tuple(self._names)
        if not self.columns:
            raise self._error(f"{text!r} uses no column")

    def __reduce__(self) -> tuple[type["Expression"], tuple[str, tuple[str, ...], str]]:
        return Expression, (self.text, tuple(self.known), self.place)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    @property
    def is_column(self) -> bool:
        """True if the expression is a column without any operation."""
        return self.columns == (self.text.strip().strip("`"),)

    def evaluate(self, table: pa.Table | pa.RecordBatch) -> pa.Array:
        """Evaluate the expression, [N]: Boolean for conditions, null where unknown.

        Args:
            table: Rows with the expression's columns.

        Raises:
            DataError: If a column is missing or has a wrong type, or an integer overflows.
        """
        return self.compute({name: clean(column(table, name)) for name in self.require(table)}, table.num_rows)

    def require(self, table: pa.Table | pa.RecordBatch) -> tuple[str, ...]:
        """Return the names of its columns.

        Raises:
            DataError: If the table lacks one of them.
        """
        for name in self.columns:
            if name not in table.schema.names:
                names = table.schema.names
                raise self._error(f"no column {name!r}", backticks_hint(self.text, names) or did_you_mean(name, names))
        return self.columns

    def compute(self, values: Mapping[str, pa.Array], rows: int) -> pa.Array:
        """Evaluate the expression on columns that are read already, [N].

        Args:
            values: Its columns, [N], without NaN.
            rows: Number of rows, N.

        Raises:
            RowError: If a value of a row can't be used.
            DataError: If a column has a wrong type, or an integer overflows.
        """
        try:
            result = self._node(values)
        except OperandError as error:
            raise self._operand_error(error) from None
        except pa.ArrowException as error:
            raise self._error(f"{self.text!r} can't be computed: {str(error).splitlines()[0]}") from error
        if isinstance(result, pa.Scalar):
            return pa.repeat(result, rows)
        return result.combine_chunks() if isinstance(result, pa.ChunkedArray) else result

    def holds(self, table: pa.Table | pa.RecordBatch) -> pa.Array:
        """Evaluate the expression as a condition, [N]: true or false, where unknown counts as false.

        Args:
            table: Rows with the expression's columns.

        Raises:
            DataError: As :meth:`evaluate`, and if the result has no truth values.
        """
        try:
            return pc.fill_null(truth(self.evaluate(table)), False)
        except OperandError as error:
            raise self._error(f"{self.text!r} is not a condition: {error.message}", "such as: rating >= 4") from None

    def result_type(self, schema: pa.Schema) -> pa.DataType:
        """Type of the result for columns of these types.

        Args:
            schema: Types of the columns.

        Raises:
            DataError: As :meth:`evaluate`.
        """
        return self.evaluate(schema.empty_table()).type

    def _error(self, message: str, hint: str = "") -> DataError:
        return DataError(f"{self.place}: {message}" if self.place else message, hint)

    def _operand_error(self, error: OperandError) -> DataError:
        plain = self._error(f"{self.text!r}: {error.message}", error.hint)
        return plain if error.index is None else RowError(plain.message, error.index, plain.hint)

    def _parse(self, text: str) -> ast.expr:
        def stand_in(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0]
            self._quoted.append(match[1])
            return f"__quoted_{len(self._quoted) - 1}__"

        if len(text) > LONGEST:
            raise self._error(f"an expression of {len(text)} characters", f"at most {LONGEST} are allowed")
        try:
            # Replace ^ before parsing: Python gives it a lower precedence than a product.
            plain = POWERS.sub(lambda match: "**" if match[0] == "^" else match[0], QUOTED.sub(stand_in, text))
            body = ast.parse(plain, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._error(f"{self.text!r} is not an expression", syntax_hint(text, self.known)) from None
        level: list[ast.AST] = [body]
        for _ in range(DEEPEST):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
        if level:
            raise self._error(f"{text[:40]!r}… is nested too deeply", f"at most {DEEPEST} operations within each other")
        return body

    def _column(self, name: str) -> Node:
        self._names[name] = None
        return lambda columns: columns[name]

    def _compile(self, node: ast.expr) -> Node:
        match node:
            case ast.Name(id=name):
                quoted = re.fullmatch(r"__quoted_(\d+)__", name)
                known = quoted is not None and int(quoted[1]) < len(self._quoted)
                return self._column(self._quoted[int(quoted[1])] if quoted and known else name)
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return self._constant(value)
            case ast.BoolOp(op=operator, values=values):
                parts = [self._compile(value) for value in values]
                join = op.both if isinstance(operator, ast.And) else op.either
                return lambda columns: reduce(join, (part(columns) for part in parts))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._compile(operand)
                return lambda columns: op.negate(inner(columns))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._compile(operand)
                return lambda columns: op.multiply(inner(columns), pa.scalar(-1))
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in ARITHMETIC:
                compute, first, second = ARITHMETIC[type(operator)], self._compile(left), self._compile(right)
                return lambda columns: clean(compute(first(columns), second(columns)))
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                raise self._error(f"{self.text!r}: & and | are unknown", "write 'and', 'or'")
            case ast.Compare(left=left, ops=operators, comparators=comparators):
                links = list(self._links(left, operators, comparators))
                return lambda columns: reduce(op.both, (link(columns) for link in links))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments)
        written = ast.unparse(node)
        hint = backticks_hint(self.text, self.known or [written]) if isinstance(node, ast.Attribute) else ""
        raise self._error(
            f"{self.text!r}: {written!r} is not allowed",
            hint or "use columns, constants, comparisons, 'and', 'or', 'not', 'in', arithmetic and a few functions",
        )

    def _constant(self, value: bool | float | str) -> Node:
        try:
            scalar = pa.scalar(value)
        except (pa.ArrowException, OverflowError):
            raise self._error(f"{self.text!r}: the number {value} is too large") from None
        return lambda _: scalar

    def _links(self, left: ast.expr, operators: list[ast.cmpop], comparators: list[ast.expr]) -> Iterator[Node]:
        for operator, right in zip(operators, comparators, strict=True):
            if any(isinstance(side, ast.Constant) and side.value is None for side in (left, right)):
                raise self._error(f"{self.text!r} compares with None", "write is_null(x)")
            yield self._link(left, operator, right)
            left = right

    def _link(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Node:
        first = self._compile(left)
        if isinstance(operator, ast.In | ast.NotIn):
            members = self._members(right)
            inside = isinstance(operator, ast.In)
            return lambda columns: op.is_member(first(columns), members, inside)
        if type(operator) not in COMPARISONS:
            raise self._error(f"{self.text!r}: 'is' is unknown", "write ==, or is_null(x)")
        compare, second = COMPARISONS[type(operator)], self._compile(right)
        return lambda columns: compare(first(columns), second(columns))

    def _members(self, node: ast.expr) -> pa.Array:
        try:
            if not isinstance(node, ast.List | ast.Tuple | ast.Set):  # ('drama') is text: list() would split it
                raise TypeError
            values = list(ast.literal_eval(node))
            return pa.array(values, from_pandas=False)
        except (ValueError, TypeError, pa.ArrowException, OverflowError):
            raise self._error(f"{self.text!r}: 'in' needs a list of constants of one type", "x in [1, 2]") from None

    def _call(self, name: str, arguments: list[ast.expr]) -> Node:
        if name not in FUNCTIONS:
            hint = did_you_mean(name, FUNCTIONS)
            raise self._error(f"{self.text!r}: no function {name!r}", hint)
        function, least, most = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            accepted = str(least) if least == most else f"{least} to {most}"
            raise self._error(f"{self.text!r}: {name} takes {accepted} arguments, not {len(arguments)}")
        parts = [self._compile(argument) for argument in arguments]
        return lambda columns: clean(function(*(part(columns) for part in parts)))


def evaluate_all(expressions: Mapping[str, Expression], table: pa.Table | pa.RecordBatch) -> dict[str, pa.Array]:
    """Evaluate several expressions on a block.

    Args:
        expressions: Expressions by name.
        table: Rows with the expressions' columns.

    Raises:
        DataError: As :meth:`Expression.evaluate`.

    Example:
        >>> results = evaluate_all({"liked": Expression("rating >= 4")}, pa.table({"rating": [5, 3]}))
        >>> results["liked"].to_pylist()
        [True, False]
    """
    return {name: expression.evaluate(table) for name, expression in expressions.items()}
