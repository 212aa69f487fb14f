"""Bounds of numbers as part of type hints.

Options are checked against the hints of the constructor that takes them, so that ``validate`` reports ``experts: 0``
with its place. Any marker with ``ge``, ``gt``, ``le`` or ``lt`` is understood, such as those in ``annotated_types``.

Example:
    >>> from typing import Annotated
    >>> def weighter(tasks, *, temperature: PositiveFloat = 2.0, top: Annotated[int, Bounds(ge=1, le=9)] = 3): ...
    >>> from mtl_lightning.validation.binding import bind
    >>> problems = []
    >>> _ = bind(weighter, {"temperature": 0, "top": 10}, "weighter", problems)
    >>> for problem in problems: print(problem)
    weighter.temperature: is 0.0, and must be above 0
    weighter.top: is 10, and must be at least 1 and at most 9
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bounds:
    """Bounds of a number.

    Args:
        ge: Inclusive lower bound.
        gt: Exclusive lower bound.
        le: Inclusive upper bound.
        lt: Exclusive upper bound.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


PositiveInt = Annotated[int, Bounds(ge=1)]
"""1, 2, …, such as a count or a width."""

NonNegativeInt = Annotated[int, Bounds(ge=0)]
"""0, 1, …"""

PositiveFloat = Annotated[float, Bounds(gt=0)]
"""A number above 0."""

NonNegativeFloat = Annotated[float, Bounds(ge=0)]
"""A number that is at least 0."""

Share = Annotated[float, Bounds(ge=0, le=1)]
"""From 0 to 1, both included."""

PositiveShare = Annotated[float, Bounds(gt=0, le=1)]
"""Above 0, and 1 at most."""

DropRate = Annotated[float, Bounds(ge=0, lt=1)]
"""Probability of dropping a value; below 1."""

Sizes = Sequence[PositiveInt]
"""Widths of consecutive layers."""


def out_of_bounds(value: float, marker: object) -> str:
    """Describe how a number violates a marker; empty if it does not. NaN violates all bounds.

    Example:
        >>> out_of_bounds(1.0, Bounds(ge=0, lt=1)), out_of_bounds(0.5, Bounds(ge=0, lt=1))
        ('is 1.0, and must be at least 0 and below 1', '')
    """
    ge, gt, le, lt = (getattr(marker, name, None) for name in ("ge", "gt", "le", "lt"))
    within = [
        (f"at least {ge}", ge is None or value >= ge),
        (f"above {gt}", gt is None or value > gt),
        (f"at most {le}", le is None or value <= le),
        (f"below {lt}", lt is None or value < lt),
    ]
    if all(held for _, held in within):
        return ""
    violated = [words for (words, _), bound in zip(within, (ge, gt, le, lt), strict=True) if bound is not None]
    return f"is {value}, and must be {' and '.join(violated)}"
