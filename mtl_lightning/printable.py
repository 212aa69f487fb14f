r"""Text from elsewhere on the terminal: control characters are shown as text (``\x1b``), never sent."""

import unicodedata
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment
from rich.text import Text

DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that let text after them run the other way."""
KEPT = "\n\t"


def _escaped(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x20 or number == 0x7F else f"\\u{number:04x}"


CONTROLS = [number for number in range(0x10000) if unicodedata.category(chr(number)) in ("Cc", "Cs", "Zl", "Zp")]
ESCAPED = {number: _escaped(number) for number in [*CONTROLS, *map(ord, DIRECTIONS)] if chr(number) not in KEPT}


def printable(text: str) -> str:
    r"""The text with every control character written out; line breaks and tabs stay.

    Example:
        >>> print(printable("price\x1b[31m"))
        price\x1b[31m
    """
    return text.translate(ESCAPED)


class Console(rich.console.Console):
    r"""A terminal on which text can only be read.

    A column name or a value may hold escape sequences, which would colour, move or overwrite what is on the screen.
    Styles and tables of our own are sent as ever.

    Example:
        >>> Console(width=20).print("a\x1b[2Jb")
        a\x1b[2Jb
    """

    def render_str(self, text: str, **how: Any) -> Text:
        """Text with markup, its control characters written out before it is laid out."""
        return super().render_str(printable(text), **how)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """The parts of what is printed, each with its control characters written out."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
