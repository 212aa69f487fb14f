"""Errors that users can act on. The command line prints them without a traceback."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Self

LONGEST = 80
"""Longest word for which a similar name is searched; longer ones are not typing errors."""


def shown(value: Any, width: int = 60) -> str:
    """Format a value for an error message, cut off if it is long.

    Example:
        >>> shown([1, "a"]), shown("x" * 100, 10)
        ("[1, 'a']", "'xxxxxx...")
    """
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name most similar to a word, ignoring case; None if none is similar.

    Example:
        >>> nearest("Pcgrd", ["pcgrad", "famo"]), nearest("x", ["pcgrad", "famo"])
        ('pcgrad', None)
    """
    folded = {name.casefold(): name for name in names}
    like = [name for name in folded if len(name) < 3 * len(word)] if len(word) <= LONGEST else []
    near = get_close_matches(word.casefold(), like, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def did_you_mean(word: str, names: Iterable[str], *, listing: int = 12) -> str:
    """Make a hint for an unknown name: the most similar known name, otherwise the first known names.

    Args:
        word: The unknown name.
        names: Known names.
        listing: Number of names that are listed.

    Example:
        >>> did_you_mean("pcgrd", ["pcgrad", "famo"])
        "did you mean 'pcgrad'?"
        >>> did_you_mean("x", ["pcgrad", "famo"])
        'known: famo, pcgrad'
    """
    known = sorted({str(name) for name in names})
    name = nearest(word, known)
    if name is not None:
        return f"did you mean {name!r}?"
    if not known:
        return ""
    return (
        "known: " + ", ".join(known[:listing]) + (f" and {len(known) - listing} more" if len(known) > listing else "")
    )


class MtlError(Exception):
    """An error that the user can act on.

    Args:
        message: What is wrong and where, in one sentence.
        hint: What to do about it; may be empty.

    Example:
        >>> str(MtlError("tasks.click.label: no column 'clik'", "did you mean 'click'?"))
        "tasks.click.label: no column 'clik' (did you mean 'click'?)"
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration.

    Args:
        path: Dotted path of the setting, as the user writes it (``weighter.eps``).
        reason: What is wrong with it.
        hint: What to do about it; may be empty.
    """

    path: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" + (f" ({self.hint})" if self.hint else "")

    @classmethod
    def from_error(cls, error: MtlError, path: str) -> Self:
        """Convert an error. A place at or below ``path`` at the start of its message becomes the path.

        Args:
            error: The error.
            path: Dotted path of the setting that caused it.

        Example:
            >>> Problem.from_error(MtlError("split.by: no way 'tme'"), "split").path
            'split.by'
        """
        place, separator, reason = error.message.partition(": ")
        if separator and " " not in place and (place == path or place.startswith(f"{path}.")):
            return cls(place, reason, error.hint)
        return cls(path, error.message, error.hint)


class ConfigError(MtlError):
    """All problems of a configuration at once.

    Example:
        >>> print(ConfigError([Problem("weighter.name", "no weighter 'pcgrd'", "did you mean 'pcgrad'?")]))
        1 problem in the configuration
          weighter.name: no weighter 'pcgrd' (did you mean 'pcgrad'?)
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = len(problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the configuration")
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  {problem}" for problem in self.problems)])


class DataError(MtlError):
    """The data can't be read, or can't be used as the recipe specifies."""

    others: tuple["DataError", ...] = ()
    """Errors of other columns, found on the same rows."""

    @classmethod
    def from_problems(cls, problems: Sequence[Problem]) -> Self:
        """Make one error of problems.

        Args:
            problems: At least one.

        Example:
            >>> print(DataError.from_problems([Problem("tasks.buy.kind", "is required"), Problem("split", "is wrong")]))
            2 problems in the configuration
              tasks.buy.kind: is required
              split: is wrong
        """
        if len(problems) == 1:
            return cls(f"{problems[0].path}: {problems[0].reason}", problems[0].hint)
        return cls(str(ConfigError(problems)))


class PluginError(MtlError):
    """A name can't be resolved to a component, or its plugin failed to load."""
