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
        >>> from mtl_lightning.data.features.build import build_features
        >>> features = build_features({"user": "categorical", "price": "numeric"})
        >>> uses = column_uses(features, [Task(name="buy", kind="binary", label="price > 2 * mean")])
        >>> sorted(uses.tokens), sorted(uses.numbers)
        (['user'], ['mean', 'price', 'price > 2 * mean'])
    """

    tokens: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()


@runtime_checkable
class TypedByUse(Protocol):
    """A source whose format leaves types open, as CSV does: the type of a column depends on its use."""

    def follow(self, uses: Uses) -> None:
        """Give columns the types that their uses need; called before anything else."""
