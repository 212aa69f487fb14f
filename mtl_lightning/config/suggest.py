"""Hints for names that are nearly right."""

from collections.abc import Iterable
from difflib import get_close_matches


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
    near = get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    if not known:
        return ""
    return (
        "known: " + ", ".join(known[:listing]) + (f" and {len(known) - listing} more" if len(known) > listing else "")
    )
