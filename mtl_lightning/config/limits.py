"""Limits of a recipe, which is untrusted: size, depth and number of values."""

from collections.abc import Mapping
from typing import Any

from mtl_lightning.errors import MtlError

MAX_BYTES = 2_000_000
"""Largest size of a recipe in bytes."""
MAX_VALUES = 100_000
"""Largest number of values, including mappings and lists, after aliases and interpolations are written out."""
MAX_DEPTH = 40
"""Largest depth of nested mappings and lists."""
MAX_EXTENDS = 32
"""Longest chain of ``extends``."""

HINT = f"the limits are {MAX_DEPTH} levels and {MAX_VALUES:,} values"


class LimitError(MtlError):
    """A recipe exceeds a limit."""


def check_limits(value: Any, place: str) -> None:
    """Count the values and levels of plain containers, without recursion.

    Args:
        value: Plain value, which may contain itself.
        place: Origin of the value, for the error.

    Raises:
        LimitError: If there are too many values or levels.

    Example:
        >>> check_limits({"seed": [1, 2]}, "recipe")
        >>> endless = []
        >>> endless.append(endless)
        >>> check_limits(endless, "recipe")
        Traceback (most recent call last):
        mtl_lightning.config.limits.LimitError: recipe: nested in more than 40 levels (the limits are ...)
    """
    count = 0
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            children = item.values() if isinstance(item, Mapping) else item if isinstance(item, list | tuple) else ()
            inner.extend(children)
            if count + len(inner) > MAX_VALUES:
                raise too_many(place)
        count += len(inner)
        level = inner
        if not level:
            return
    raise too_deep(place)


def too_deep(place: str) -> LimitError:
    """The error of a value with too many levels."""
    return LimitError(f"{place}: nested in more than {MAX_DEPTH} levels", HINT)


def too_many(place: str) -> LimitError:
    """The error of a recipe with too many values."""
    return LimitError(f"{place}: has more than {MAX_VALUES:,} values", HINT)
