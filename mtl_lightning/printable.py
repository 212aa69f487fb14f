r"""Safe output of untrusted text: control characters are written out (``\x1b``), never sent to the terminal."""

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment
from rich.text import Text

DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of the text after them."""
UNCHANGED = "\n\t"


def _escaped(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x20 or number == 0x7F else f"\\u{number:04x}"


CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000)]
"""Control characters, line and paragraph separators, and surrogates."""
ESCAPED = {number: _escaped(number) for number in [*CONTROLS, *map(ord, DIRECTIONS)] if chr(number) not in UNCHANGED}


def printable(text: str) -> str:
    r"""Write out every control character of a text except line breaks and tabs.

    Example:
        >>> print(printable("price\x1b[31m"))
        price\x1b[31m
    """
    return text.translate(ESCAPED)


class Console(rich.console.Console):
    r"""A console that writes control characters out.

    A column name or a value may hold escape sequences, which would colour, move or overwrite the screen. The styles of
    this package are still applied.

    Example:
        >>> Console(width=20).print("a\x1b[2Jb")
        a\x1b[2Jb
    """

    def render_str(self, text: str, **how: Any) -> Text:
        """Render text with markup; control characters are written out before the layout."""
        return super().render_str(printable(text), **how)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Render segments with control characters written out."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
