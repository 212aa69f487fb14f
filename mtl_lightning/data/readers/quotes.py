"""Quotes of CSV files: ends of rows, and errors in quoted values."""

from typing import NamedTuple

import numpy as np

from mtl_lightning.data.readers.csv_options import CsvOptions

NEWLINE, RETURN = 10, 13


class QuoteError(ValueError):
    """Quoted value that doesn't end where it should.

    Args:
        start: Offset of the opening quote.
        end: Offset of a quote followed by other text; None if the value never ends.
    """

    def __init__(self, start: int, end: int | None) -> None:
        super().__init__(start, end)
        self.start = start
        self.end = end


class Quoted(NamedTuple):
    """Quoted values and escaped characters of a text.

    Args:
        starts: Offsets of opening quotes, ascending.
        ends: Offsets of closing quotes; one fewer than ``starts`` if the last value doesn't end.
        plain: True at the offset of each escaped character; None if there is none.
    """

    starts: np.ndarray
    ends: np.ndarray
    plain: np.ndarray | None

    @property
    def open(self) -> int | None:
        """Offset of the opening quote of a value that doesn't end, or None."""
        return int(self.starts[-1]) if len(self.starts) > len(self.ends) else None

    def covers(self, offset: int) -> int | None:
        """Start of the quoted value that contains an offset, or None."""
        place = int(np.searchsorted(self.starts, offset)) - 1
        if place < 0 or (place < len(self.ends) and self.ends[place] < offset):
            return None
        return int(self.starts[place])


NONE = Quoted(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), None)
"""No quoted values."""


def find_quoted(data: bytes, options: CsvOptions) -> Quoted:
    """Find the quoted values of a text that begins with a row.

    A quote at the beginning of a value opens it; elsewhere in an unquoted value it is an ordinary character. Two quotes
    within a quoted value stand for a quote.

    Args:
        data: The text, in UTF-8.
        options: Format of the file.

    Raises:
        QuoteError: If a closing quote is followed by anything but a separator or the end of the line.

    Example:
        >>> quoted = find_quoted(b'a,"b,c",12" mix', CsvOptions())
        >>> quoted.starts.tolist(), quoted.ends.tolist()
        ([2], [6])
    """
    quote = options.quote.encode() if options.quote else b""
    escape = options.escape.encode() if options.escape else b""
    has_quotes, has_escapes = bool(quote) and quote in data, bool(escape) and escape in data
    if not has_quotes and not has_escapes:
        return NONE
    codes = np.frombuffer(data, dtype=np.uint8)
    plain = _escaped(codes, escape[0]) if has_escapes else None
    if not has_quotes:
        return NONE._replace(plain=plain)
    places = np.flatnonzero(codes == quote[0])
    if plain is not None:
        places = places[~plain[places]]
    if not len(places):
        return NONE._replace(plain=plain)
    limits = np.zeros(256, dtype=bool)
    limits[[ord(options.separator), NEWLINE, RETURN]] = True
    first = limits[codes[places - 1]]
    if plain is not None:
        first &= ~plain[places - 1]
    first[0] |= places[0] == 0
    following = codes[np.minimum(places + 1, len(codes) - 1)]
    last = limits[following] | (places + 1 == len(codes))
    return _paired(places, first, last)._replace(plain=plain)


def _escaped(codes: np.ndarray, escape: int) -> np.ndarray:
    """Mask of the characters that follow an escape which isn't escaped itself."""
    places = np.flatnonzero(codes == escape)
    begins = np.flatnonzero(np.diff(places, prepend=-2) > 1)
    lengths = np.diff(np.append(begins, len(places)))
    within = np.arange(len(places)) - np.repeat(begins, lengths)
    plain = np.zeros(len(codes) + 1, dtype=bool)
    plain[places[within % 2 == 0] + 1] = True
    return plain[:-1]


def _paired(places: np.ndarray, first: np.ndarray, last: np.ndarray) -> Quoted:
    """Pair opening and closing quotes.

    Args:
        places: Offsets of all quotes.
        first: True for quotes that are the first character of a value.
        last: True for quotes followed by the end of a value.
    """
    adjacent = np.diff(places) == 1
    before, after = np.append(False, adjacent), np.append(adjacent, False)
    if (first | before)[0::2].all() and first[0] and (last | after)[1::2].all():
        # Every other quote opens. An opening quote right after a closing one is a doubled quote within the value.
        opening, closing = np.ones(len(places), dtype=bool), np.ones(len(places), dtype=bool)
        opening[1::2] = closing[0::2] = False
        opening[0::2] &= ~before[0::2]
        closing[1::2] &= ~after[1::2]
        return Quoted(places[opening], places[closing], None)
    return _scanned(places.tolist(), first.tolist(), last.tolist())


def _scanned(places: list[int], first: list[bool], last: list[bool]) -> Quoted:
    """Pair quotes one by one, for texts with ordinary quotes in unquoted values."""
    starts: list[int] = []
    ends: list[int] = []
    i, count = 0, len(places)
    while i < count:
        if not first[i]:
            i += 1
            continue
        starts.append(places[i])
        i += 1
        while i + 1 < count and places[i + 1] == places[i] + 1:
            i += 2
        if i >= count:
            break
        if not last[i]:
            raise QuoteError(starts[-1], places[i])
        ends.append(places[i])
        i += 1
    return Quoted(np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), None)


def find_rows_end(data: bytes, quoted: Quoted) -> int:
    r"""Length of the complete rows at the beginning of a text.

    Example:
        >>> find_rows_end(b"a,b\nc,", NONE)
        4
    """
    mark = b"\n"
    limit = len(data)
    while True:
        place = data.rfind(mark, 0, limit)
        # A carriage return ends a line by itself only if the next character is known not to be a line feed.
        if mark == b"\r" and place == len(data) - 1 and place >= 0:
            limit = place
            continue
        if place < 0:
            if mark == b"\r":
                return 0
            mark, limit = b"\r", len(data)
            continue
        inside = quoted.covers(place)
        if inside is None and (quoted.plain is None or not quoted.plain[place]):
            return place + 1
        limit = place if inside is None else inside


def find_row_starts(data: bytes, quoted: Quoted) -> np.ndarray:
    r"""Offsets of all rows, ascending; empty lines are not rows.

    Example:
        >>> find_row_starts(b"a,b\n\nc,d\n", NONE).tolist()
        [0, 5]
    """
    codes = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero((codes == NEWLINE) | (codes == RETURN))
    if quoted.plain is not None:
        ends = ends[~quoted.plain[ends]]
    if len(quoted.starts):
        place = np.searchsorted(quoted.starts, ends) - 1
        closes = np.append(quoted.ends, len(data))[np.maximum(place, 0)]
        ends = ends[(place < 0) | (closes < ends)]
    starts = np.append(0, ends + 1)
    lengths = np.append(ends, len(data)) - starts
    return np.asarray(starts[lengths > 0])
