"""Functions that expressions can call."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.types import OperandError, Value, family, is_text, numeric, real, truth
from mtl_lightning.data.expressions.dates import part_of_time, time
from mtl_lightning.data.expressions.operations import align


def _defined(compute: Callable[[Value], Value], domain: Callable[[Value], Value]) -> Callable[[Value], Value]:
    def function(values: Value) -> Value:
        numbers = real(values)
        return compute(pc.if_else(domain(numbers), numbers, pa.scalar(None, pa.float64())))

    return function


def _text(values: Value) -> Value:
    if pt.is_null(values.type):
        return pc.cast(values, pa.string())
    if not is_text(values.type):
        raise OperandError(f"{family(values.type)} where text is needed")
    return values


def _constant_text(value: Value) -> str:
    if not isinstance(value, pa.Scalar):
        raise OperandError("the pattern must be a constant in quotes")
    return str(_text(value).as_py())


def _coalesce(*values: Value) -> Value:
    aligned = [values[0]]
    for value in values[1:]:
        aligned[0], value = align(aligned[0], value)
        aligned.append(value)
    return pc.coalesce(*aligned)


def _if_else(condition: Value, left: Value, right: Value) -> Value:
    return pc.if_else(truth(condition), *align(left, right))


def _extreme(compute: Callable[..., Value]) -> Callable[..., Value]:
    return lambda *values: compute(*(real(value) for value in values), skip_nulls=False)


FUNCTIONS: dict[str, tuple[Callable[..., Value], int, int]] = {
    "abs": (lambda values: pc.abs(numeric(values)), 1, 1),
    "coalesce": (_coalesce, 2, 8),
    "contains": (lambda text, part: pc.match_substring(_text(text), _constant_text(part)), 2, 2),
    "day": (part_of_time(pc.day), 1, 2),
    "day_of_year": (part_of_time(pc.day_of_year), 1, 2),
    "exp": (lambda values: pc.exp(real(values)), 1, 1),
    "floor": (lambda values: pc.floor(real(values)), 1, 1),
    "hour": (part_of_time(pc.hour), 1, 2),
    "if_else": (_if_else, 3, 3),
    "is_null": (pc.is_null, 1, 1),
    "length": (lambda text: pc.cast(pc.utf8_length(_text(text)), pa.int64()), 1, 1),
    "log": (_defined(pc.ln, lambda values: pc.greater(values, 0)), 1, 1),
    "log1p": (_defined(pc.log1p, lambda values: pc.greater(values, -1)), 1, 1),
    "lower": (lambda text: pc.utf8_lower(_text(text)), 1, 1),
    "maximum": (_extreme(pc.max_element_wise), 2, 8),
    "minimum": (_extreme(pc.min_element_wise), 2, 8),
    "month": (part_of_time(pc.month), 1, 2),
    "number": (lambda values: pc.cast(values, pa.float64()), 1, 1),
    "round": (lambda values: pc.round(real(values)), 1, 1),
    "sqrt": (_defined(pc.sqrt, lambda values: pc.greater_equal(values, 0)), 1, 1),
    "starts_with": (lambda text, part: pc.starts_with(_text(text), _constant_text(part)), 2, 2),
    "time": (time, 1, 2),
    "weekday": (part_of_time(pc.day_of_week), 1, 2),
    "year": (part_of_time(pc.year), 1, 2),
}
"""Functions by name, with the smallest and the largest number of arguments."""
