"""What to write instead of an expression that can't be read."""

import keyword
import re
from collections.abc import Collection

QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`([^`]+)`")
"""Names in backticks, and strings, which may hold backticks of their own."""
OPERATORS = {"and", "or", "not", "in", "is", "None", "True", "False"}
"""Keywords of Python that expressions know as well."""
SYNTAX_HINTS = (
    ("&&", "write 'and'"),
    ("||", "write 'or'"),
    ("!", "write 'not' or '!='"),
    ("=", "write == to compare"),
    (" ", "put a column name that holds blanks in backticks: `Clothing ID` == 3"),
)


def syntax_hint(text: str, known: Collection[str]) -> str:
    """How to write an expression that Python's grammar refuses.

    Example:
        >>> syntax_hint("class == 1", ()), syntax_hint("a && b", ())
        ('put the column name in backticks: `class` == 1', "write 'and'")
    """
    if found := backticks_hint(text, known):
        return found
    bare = QUOTED.sub("", text)
    for comparison in ("==", "!=", "<=", ">="):
        bare = bare.replace(comparison, "")
    return next((hint for sign, hint in SYNTAX_HINTS if sign in bare), "such as: rating >= 4")


def backticks_hint(text: str, known: Collection[str]) -> str:
    """The expression with a column name in backticks that Python takes apart; empty if it holds none.

    Args:
        text: The expression.
        known: Names of columns; if there are none, keywords of Python are taken for one.

    Example:
        >>> backticks_hint("Book-Rating >= 7", ["Book-Rating", "Rating"])
        'put the column name in backticks: `Book-Rating` >= 7'
        >>> backticks_hint("Rating >= 7", ["Book-Rating", "Rating"])
        ''
    """
    names = sorted((name for name in known if name and _taken_apart(name)), key=len, reverse=True)
    if not known:
        names = [word for word in re.findall(r"\w+", QUOTED.sub(" ", text)) if _taken_apart(word, words=True)]
    for name in names:
        pattern = rf"(?<![\w.-]){re.escape(name)}(?![\w-])"
        parts = re.split(f"({QUOTED.pattern.replace('(', '(?:')})", text)
        parts[::2] = [re.sub(pattern, lambda found: f"`{found[0]}`", part) for part in parts[::2]]
        if (written := "".join(parts)) != text:
            return f"put the column name in backticks: {written}"
    return ""


def _taken_apart(name: str, *, words: bool = False) -> bool:
    """Whether an expression can't hold a name as it is."""
    if name in OPERATORS:
        return False
    return keyword.iskeyword(name) or not (words or name.isidentifier())
