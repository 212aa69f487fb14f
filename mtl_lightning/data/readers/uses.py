"""Uses of columns, which decide their types where a file format leaves types open."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Uses:
    """Columns by the way they are read; a column may have several uses.

    Args:
        tokens: Columns whose values are compared as written: ids, names, codes.
        lists: Columns with several values in one cell; must be tokens as well.
        numbers: Columns read as numbers or times.

    Example:
        >>> uses = Uses(tokens=frozenset({"user", "tags"}), lists=frozenset({"tags"}), numbers=frozenset({"price"}))
        >>> uses.lists <= uses.tokens
        True
    """

    tokens: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()


@runtime_checkable
class TypedByUse(Protocol):
    """Protocol of sources whose format leaves types open, as CSV does: the type of a column depends on its use."""

    def follow(self, uses: Uses) -> None:
        """Give columns the types that their uses need; called before any other method."""
