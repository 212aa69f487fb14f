"""Operations of expressions: comparison, logic and arithmetic on Arrow arrays with nulls."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.types import OperandError, Value, family, is_text, is_time, numeric, real, seconds, truth


def align(left: Value, right: Value) -> tuple[Value, Value]:
    """Convert two values to a common type for a comparison.

    Raises:
        OperandError: If their types have nothing in common.
    """
    kinds = (left.type, right.type)
    if all(is_text(kind) for kind in kinds) or all(pt.is_boolean(kind) for kind in kinds) or all(map(is_time, kinds)):
        return left, right
    if is_time(kinds[0]) and isinstance(right, pa.Scalar) and is_text(kinds[1]):
        return left, _as_time(right, kinds[0])
    if is_time(kinds[1]) and isinstance(left, pa.Scalar) and is_text(kinds[0]):
        return _as_time(left, kinds[1]), right
    if any(pt.is_null(kind) for kind in kinds):
        other = kinds[1] if pt.is_null(kinds[0]) else kinds[0]
        other = pa.float64() if pt.is_null(other) else other
        return pc.cast(left, other), pc.cast(right, other)
    try:
        return numeric(left), numeric(right)
    except OperandError:
        words = family(kinds[0]), family(kinds[1])
        hint = 'put text in quotes: genre == "drama"' if "text" in words else ""
        if any(isinstance(side, pa.Scalar) and is_text(side.type) for side in (left, right)) and "a number" in words:
            hint = "compare with a number, or list the column in source.text if its numbers are names"
        raise OperandError(f"compares {words[0]} with {words[1]}", hint) from None


def _as_time(text: pa.Scalar, kind: pa.DataType) -> pa.Scalar:
    try:
        return pc.cast(pc.cast(text, pa.timestamp(kind.unit)), kind)
    except pa.ArrowException:
        raise OperandError(f"{text.as_py()!r} is not a time", 'such as: time >= "2024-05-01"') from None


def comparison(sign: str) -> Callable[[Value, Value], Value]:
    """Comparison function by its sign, such as ``<=``."""
    names = {"==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}
    compute = getattr(pc, names[sign])
    return lambda left, right: compute(*align(left, right))


def both(left: Value, right: Value) -> Value:
    """Logical and: unknown unless one side is false."""
    return pc.and_kleene(truth(left), truth(right))


def either(left: Value, right: Value) -> Value:
    """Logical or: unknown unless one side is true."""
    return pc.or_kleene(truth(left), truth(right))


def negate(value: Value) -> Value:
    """Logical not."""
    return pc.invert(truth(value))


def is_member(values: Value, members: pa.Array, inside: bool) -> Value:
    """Membership in a set of constants, or its negation; unknown for nulls.

    Args:
        values: The values.
        members: The constants.
        inside: True for ``in``, False for ``not in``.

    Raises:
        OperandError: If values and constants can't be compared.
    """
    if len(members) == 0:
        matches = pc.and_(pc.is_valid(values), False)
    else:
        left, _ = align(values, members[0])
        if is_time(left.type) and is_text(members.type):
            members = pa.array([_as_time(member, left.type).value for member in members], pa.int64()).cast(left.type)
        if pt.is_uint64(left.type) and pt.is_integer(members.type):
            members = members.filter(pc.greater_equal(members, 0))  # unsigned values are never negative
        if left.type != members.type:  # use the wider type, so that 1.5 is not truncated to 1
            common = pa.float64() if pt.is_floating(left.type) or pt.is_floating(members.type) else left.type
            left, members = pc.cast(left, common), pc.cast(members, common)
        matches = pc.is_in(left, value_set=members)
    result = matches if inside else pc.invert(matches)
    return pc.if_else(pc.is_valid(values), result, pa.scalar(None, pa.bool_()))


def add(left: Value, right: Value) -> Value:
    """Sum."""
    return pc.add_checked(numeric(left), numeric(right))


def subtract(left: Value, right: Value) -> Value:
    """Difference; the difference of two times is in seconds."""
    if is_time(left.type) and is_time(right.type):
        return seconds(pc.subtract(left, right))
    return pc.subtract_checked(numeric(left), numeric(right))


def multiply(left: Value, right: Value) -> Value:
    """Product."""
    return pc.multiply_checked(numeric(left), numeric(right))


def _nonzero(values: Value) -> Value:
    return pc.if_else(pc.equal(values, 0), pa.scalar(None, values.type), values)


def divide(left: Value, right: Value) -> Value:
    """Quotient as a float; unknown if the divisor is 0."""
    return pc.divide(real(left), _nonzero(real(right)))


def floor_divide(left: Value, right: Value) -> Value:
    """Quotient rounded down; exact for integers, unknown if the divisor is 0."""
    left, right = numeric(left), _nonzero(numeric(right))
    if pt.is_integer(left.type) and pt.is_integer(right.type):
        quotient = pc.divide(left, right)
        remainder = pc.subtract(left, pc.multiply(quotient, right))
        inexact = pc.and_(pc.not_equal(remainder, 0), pc.xor(pc.less(remainder, 0), pc.less(right, 0)))
        return pc.subtract(quotient, pc.cast(inexact, pa.int64()))
    return pc.floor(pc.divide(real(left), real(right)))


def modulo(left: Value, right: Value) -> Value:
    """Remainder of :func:`floor_divide`, with the divisor's sign."""
    return subtract(left, multiply(floor_divide(left, right), right))


def power(left: Value, right: Value) -> Value:
    """Power, as a float."""
    return pc.power(real(left), real(right))
