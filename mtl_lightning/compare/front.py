"""Pareto front: what is best for one task without being worse for another."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def pareto_front(points: Mapping[Name, Sequence[float]], higher: Sequence[bool]) -> list[Name]:
    """Names of the points that no other point dominates.

    Args:
        points: Values by name.
        higher: Per value, True if higher is better.

    Example:
        >>> pareto_front({0: (0.7, 30.0), 1: (0.6, 25.0), 2: (0.6, 31.0)}, (True, False))
        [0, 1]
    """
    signed = {
        number: [value if up else -value for value, up in zip(values, higher, strict=True)]
        for number, values in points.items()
    }

    def dominated(own: list[float]) -> bool:
        return any(
            all(b >= a for a, b in zip(own, other, strict=True)) and any(b > a for a, b in zip(own, other, strict=True))
            for other in signed.values()
        )

    return [number for number, values in signed.items() if not dominated(values)]
