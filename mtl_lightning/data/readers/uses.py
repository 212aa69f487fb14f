"""To be described."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Uses:
    """Columns by what reads them; a column may have several uses.

    Args:
        tokens: Values are compared as they are written: ids, names, codes.
        lists: Several values in one cell; always tokens, too.
        numbers: Numbers or times.

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
    """A source whose format leaves types open, as CSV does: the type of a column depends on its use."""

    def follow(self, uses: Uses) -> None:
        """Give columns the types that their uses need; called before anything else."""
