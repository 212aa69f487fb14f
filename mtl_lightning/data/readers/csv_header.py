"""Header of a CSV file: names of the columns, and signs of wrong options."""

import csv
from typing import Any

from mtl_lightning.data.arrow.columns import repeated_names
from mtl_lightning.data.readers.csv_options import CsvOptions
from mtl_lightning.errors import DataError

MOST_COLUMNS = 20_000
"""Largest number of columns."""
SEPARATORS = ("\t", ";", "|", ",")
"""Separators that a hint suggests if the header looks like a single name."""


def read_header(data: bytes, options: CsvOptions, place: str, path: str) -> tuple[str, ...]:
    r"""Read the names of the columns.

    Args:
        data: The row with the names, and the empty lines before it.
        options: Format of the file.
        place: File and line, for messages.
        path: The file.

    Raises:
        DataError: If the row can't be read, repeats a name or shows that the options are wrong.

    Example:
        >>> read_header(b"user,item\n", CsvOptions(), "log.csv: line 1", "log.csv")
        ('user', 'item')
    """
    try:
        text = data.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        reason = f"{place}: the header is not UTF-8: {data[:40]!r}"
        raise DataError(reason, "set source.encoding, such as latin-1") from error
    try:
        names = _split(text, options)
    except csv.Error as error:
        raise DataError(f"{place}: the header can't be read: {error}") from error
    others = [sign for sign in SEPARATORS if sign in names[0] and sign != options.separator]
    if len(names) == 1 and others:
        shown = r'"\t"' if others[0] == "\t" else others[0]
        raise DataError(f"{path}: the header is one column, {names[0]!r}", f"set source.separator={shown}")
    if options.quote is None and all(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        raise DataError(f"{path}: the names in the header are in quotes", "set source.quote='\"'")
    if repeated := repeated_names(names):
        raise DataError(f"{path} has several columns called {', '.join(map(repr, repeated))}")
    if len(names) > MOST_COLUMNS:
        reason = f"{path} has {len(names):,} columns, more than {MOST_COLUMNS:,}"
        raise DataError(reason, "remove unused columns, or use parquet with a list of numbers")
    return names


def _split(text: str, options: CsvOptions) -> tuple[str, ...]:
    """Values of one row."""
    form: dict[str, Any] = {
        "delimiter": options.separator,
        "quotechar": options.quote,
        "quoting": csv.QUOTE_NONE if options.quote is None else csv.QUOTE_MINIMAL,
        "escapechar": options.escape,
    }
    return tuple(next(csv.reader([text], **form)))
