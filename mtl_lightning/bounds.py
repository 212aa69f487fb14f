"""Bounds of numbers as part of a type hint: an option's hint says what a recipe may give.

A recipe's options are held to the hints of the constructor that takes them, so that ``experts: 0`` is told by
``validate`` with its place. Any marker with ``ge``, ``gt``, ``le`` or ``lt`` serves, those of ``annotated_types`` too.

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
    """What a number may be.

    Args:
        ge: It is this or more.
        gt: It is more than this.
        le: It is this or less.
        lt: It is less than this.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


PositiveInt = Annotated[int, Bounds(ge=1)]
"""1, 2, …: how many, how wide."""

NonNegativeInt = Annotated[int, Bounds(ge=0)]
"""0, 1, …"""

PositiveFloat = Annotated[float, Bounds(gt=0)]
"""A number above 0."""

NonNegativeFloat = Annotated[float, Bounds(ge=0)]
"""A number that is at least 0."""

Share = Annotated[float, Bounds(ge=0, le=1)]
"""From 0 to 1, both included."""

DropRate = Annotated[float, Bounds(ge=0, lt=1)]
"""Probability of leaving something out; not all of it."""

Sizes = Sequence[PositiveInt]
"""Widths of layers, one after the other."""


def out_of_bounds(value: float, marker: object) -> str:
    """What a marker has against a number, in words; empty if nothing. NaN is in no bounds.

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
    said = [words for (words, _), bound in zip(within, (ge, gt, le, lt), strict=True) if bound is not None]
    return f"is {value}, and must be {' and '.join(said)}"
