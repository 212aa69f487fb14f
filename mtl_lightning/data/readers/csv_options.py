"""Options of CSV files: separators, quotes and the spelling of numbers and missing values."""

import codecs
from dataclasses import dataclass

from mtl_lightning.data.arrow.number_text import USUAL, NumberText
from mtl_lightning.errors import DataError

AUTOMATIC = "auto"
"""Setting of an option that depends on the file."""
UNQUOTED_SUFFIXES = (".tsv", ".dat")
"""Suffixes of files in which a quote is an ordinary character."""


@dataclass(frozen=True)
class CsvOptions:
    r"""Format of CSV files.

    Args:
        separator: Character between values.
        names: Names of the columns of files without a header; None if files have a header.
        encoding: Encoding of the text.
        text: Columns that are text, whatever they hold.
        quote: Character around values with separators, line breaks or quotes; None if files have no quoted values.
        escape: Character that makes the next one ordinary (``\"``); None if there is none.
        missing: Further spellings of a missing value.
        numbers: Spelling of numbers.

    Raises:
        DataError: If a character is unsuitable for its option, or the encoding is unknown.

    Example:
        >>> CsvOptions(separator=";", quote=";")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: source.quote: ';' is also source.separator
    """

    separator: str = ","
    names: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    text: tuple[str, ...] = ()
    quote: str | None = '"'
    escape: str | None = None
    missing: tuple[str, ...] = ()
    numbers: NumberText = USUAL

    def __post_init__(self) -> None:
        characters = {"separator": self.separator, "quote": self.quote, "escape": self.escape}
        used: dict[str, str] = {}
        for name, character in characters.items():
            if character is None:
                continue
            if len(character) != 1:
                raise DataError(f"source.{name}: {character!r} is not one character")
            if not character.isascii() or character in "\r\n":
                hint = "convert the file, or choose another character"
                raise DataError(f"source.{name}: {character!r} is not an ASCII character within a line", hint)
            if character in used:
                raise DataError(f"source.{name}: {character!r} is also source.{used[character]}")
            used[character] = name
        _check_encoding(self.encoding)

    @property
    def utf8(self) -> bool:
        """True if files are in UTF-8 and need no conversion."""
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")


def default_separator(path: str) -> str:
    r"""Separator by a file's suffix: a tab for ``.tsv``, compressed or not, otherwise a comma.

    Example:
        >>> default_separator("log.tsv.gz"), default_separator("log.csv")
        ('\t', ',')
    """
    tabs = path.split(".csv")[0].endswith(".tsv") or ".tsv" in path
    return "\t" if tabs else ","


def default_quote(path: str, separator: str) -> str | None:
    r"""Quote by a file's suffix and separator; None for ``.tsv``, ``.dat`` and separators such as tabs.

    Programs that write such logs never quote, so a title may begin with a quote.

    Example:
        >>> default_quote("log.csv", ","), default_quote("log.dat", ","), default_quote("log.csv", "\x01")
        ('"', None, None)
    """
    name = path.split("::")[0].split("?")[0].lower()
    plain = any(suffix in name.rsplit("/", 1)[-1] for suffix in UNQUOTED_SUFFIXES)
    return None if plain or separator < " " else '"'


def _check_encoding(encoding: str) -> None:
    hint = "such as utf-8, latin-1, utf-16"
    try:
        codecs.lookup(encoding)
    except (LookupError, ValueError) as error:
        raise DataError(f"source.encoding: {encoding!r} is unknown", hint) from error
    try:
        "a".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError) as error:
        raise DataError(f"source.encoding: {encoding!r} is not an encoding of text", hint) from error
