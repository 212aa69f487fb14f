"""Hints for names that are nearly right."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

LONGEST = 80
"""Longest word for which a near name is looked for: nobody mistypes a longer one."""


def shown(value: Any, width: int = 60) -> str:
    """A value of a recipe for an error, cut off where it is long.

    Example:
        >>> shown([1, "a"]), shown("x" * 100, 10)
        ("[1, 'a']", "'xxxxxx...")
    """
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def did_you_mean(word: str, names: Iterable[str], *, listing: int = 12) -> str:
    """A hint for an unknown name: the nearest one, else the known ones if they are few.

    Args:
        word: What the user wrote.
        names: What could have been meant.
        listing: Longest list that is printed.

    Example:
        >>> did_you_mean("pcgrd", ["pcgrad", "famo"])
        "did you mean 'pcgrad'?"
        >>> did_you_mean("x", ["pcgrad", "famo"])
        'known: famo, pcgrad'
    """
    known = sorted({str(name) for name in names})
    folded = {name.casefold(): name for name in known}
    like = [name for name in folded if len(name) < 3 * len(word)] if len(word) <= LONGEST else []
    near = get_close_matches(word.casefold(), like, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    if not known:
        return ""
    return (
        "known: " + ", ".join(known[:listing]) + (f" and {len(known) - listing} more" if len(known) > listing else "")
    )
