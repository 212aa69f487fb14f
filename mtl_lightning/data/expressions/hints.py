"""Hints for expressions that can't be parsed."""

import keyword
import re
from collections.abc import Collection

QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`([^`]+)`")
"""Names in backticks, and strings, which may contain backticks."""
OPERATORS = {"and", "or", "not", "in", "is", "None", "True", "False"}
"""Keywords of Python with a meaning in expressions."""
SYNTAX_HINTS = (
    ("&&", "write 'and'"),
    ("||", "write 'or'"),
    ("!", "write 'not' or '!='"),
    ("=", "write == to compare"),
    (" ", "put a column name that holds blanks in backticks: `Clothing ID` == 3"),
)
"""Signs of an error, with hints; the first sign in the expression counts."""


def syntax_hint(text: str, known: Collection[str]) -> str:
    """Hint for an expression that Python's grammar refuses.

    Args:
        text: The expression.
        known: Names of the columns; may be empty.

    Example:
        >>> syntax_hint("class == 1", ()), syntax_hint("a && b", ())
        ('put the column name in backticks: `class` == 1', "write 'and'")
    """
    if hint := backticks_hint(text, known):
        return hint
    bare = QUOTED.sub("", text)
    for comparison in ("==", "!=", "<=", ">="):
        bare = bare.replace(comparison, "")
    return next((hint for sign, hint in SYNTAX_HINTS if sign in bare), "such as: rating >= 4")


def backticks_hint(text: str, known: Collection[str]) -> str:
    """Hint to put a column name in backticks because Python splits it; empty if there is no such name.

    Args:
        text: The expression.
        known: Names of the columns; if empty, keywords of Python count as columns.

    Example:
        >>> backticks_hint("Book-Rating >= 7", ["Book-Rating", "Rating"])
        'put the column name in backticks: `Book-Rating` >= 7'
        >>> backticks_hint("Rating >= 7", ["Book-Rating", "Rating"])
        ''
    """
    names = sorted((name for name in known if name and _needs_backticks(name)), key=len, reverse=True)
    if not known:
        names = [word for word in re.findall(r"\w+", QUOTED.sub(" ", text)) if _needs_backticks(word, words=True)]
    for name in names:
        pattern = rf"(?<![\w.-]){re.escape(name)}(?![\w-])"
        parts = re.split(f"({QUOTED.pattern.replace('(', '(?:')})", text)
        parts[::2] = [re.sub(pattern, lambda match: f"`{match[0]}`", part) for part in parts[::2]]
        if (written := "".join(parts)) != text:
            return f"put the column name in backticks: {written}"
    return ""


def _needs_backticks(name: str, *, words: bool = False) -> bool:
    """True if an expression can't contain a name without backticks."""
    if name in OPERATORS:
        return False
    return keyword.iskeyword(name) or not (words or name.isidentifier())
