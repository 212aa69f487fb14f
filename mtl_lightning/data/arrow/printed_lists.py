"""Parser of lists printed as text by Python, JSON, numpy or SQL."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.numbers import RowError

OPENED = r"^\s*[\[({]"
"""Text that begins like a printed list."""
BEGUN = r"""\s*(?:(?:[-+.0-9'"]|(?:None|nan|NaN|NaT|True|False)\b|np\.|(?:null|true|false)\s*,).*)?"""
"""Content of brackets whose first value is not a bare word."""
CERTAIN = rf"(?s)^\s*(?:\[{BEGUN}\]|\({BEGUN}\)|\{{{BEGUN}\}})\s*$"
"""Text that is a printed list rather than words in brackets."""
ENCLOSED = r"(?s)^(?:\[.*\]|\(.*\)|\{.*\})$"
"""Text in brackets."""
INTEGER = r"(?:0|-?[1-9][0-9]*)"
NUMBER = r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
TEXT = r"""(?:'[^'\\,]*'|"[^"\\,]*")"""


def _listed(value: str) -> str:
    """Pattern of several such values, separated by commas or, as in numpy, by blanks."""
    return rf"^\s*(?:{value}(?:(?:\s*,\s*{value})*\s*,?|(?:\s+{value})*)\s*)?$"


INTEGERS, NUMBERS = _listed(INTEGER), _listed(NUMBER.replace("[0-9]+)?", "[0-9]{1,2})?"))
TEXTS = rf"^\s*{TEXT}(?:\s*,\s*{TEXT})*\s*,?\s*$"
FRACTION = r"[.eE]"

ITEM = re.compile(
    rf"""\s*(?:(?P<call>np\.\w+\(\s*)?(?:[bu]?(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<number>{NUMBER})(?![\w.])
    |(?P<word>None|null|NaN|nan|NaT|<NA>|(?:np\.)?(?:True|False)_?|true|false)(?!\w)))""",
    re.VERBOSE | re.DOTALL,
)
"""A value, possibly printed by numpy as a call of its type."""
CLOSED = re.compile(r"\s*\)")
BETWEEN = re.compile(r"\s*,\s*|\s+|\Z")
TRUTHS = {"True": "true", "False": "false", "true": "true", "false": "false"}
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}
HINT = "write ['a', 'b'], or choose a separator other than comma and blank if brackets belong to the values"


def parse_lists(column: pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
    """Parse printed lists to text values, without missing ones, [N] → [V].

    Args:
        column: Text that matches :data:`OPENED` or :data:`CERTAIN`.
        name: Name of the column, for messages.

    Returns:
        The values, and the row of each value, ascending.

    Raises:
        RowError: At the first row that is not a list of single values.

    Example:
        >>> values, rows = parse_lists(pa.array(["[1 2]", "(1.0, None)", "['Rock, Pop', 'Jazz']"]), "tags")
        >>> values.to_pylist(), rows.tolist()
        (['1', '2', '1', 'Rock, Pop', 'Jazz'], [0, 0, 1, 2, 2])
    """
    trimmed = pc.utf8_trim_whitespace(column)
    enclosed = pc.match_substring_regex(trimmed, ENCLOSED)
    if not pc.all(enclosed).as_py():
        _refuse(column, pc.index(enclosed, False).as_py(), name, "begins with a bracket and is not a list")
    inner = pc.utf8_slice_codeunits(trimmed, 1, -1)
    parts, waiting = [], np.arange(len(column))
    for pattern, read in ((INTEGERS, _divided), (NUMBERS, _numbers), (TEXTS, _quoted)):
        if len(waiting):
            right = pc.match_substring_regex(inner, pattern).to_numpy(zero_copy_only=False)
            if right.any():
                values, places = read(inner.filter(pa.array(right)))
                parts.append((values, waiting[right][places]))
                inner, waiting = inner.filter(pa.array(~right)), waiting[~right]
    if len(waiting):
        values, places = _parsed(inner, column, waiting, name)
        parts.append((values, waiting[places]))
    if not parts:
        return pa.array([], pa.string()), np.zeros(0, dtype=np.int64)
    rows = np.concatenate([places for _, places in parts])
    order = np.argsort(rows, kind="stable")
    return pa.concat_arrays([values for values, _ in parts]).take(pa.array(order)), rows[order]


def _divided(inner: pa.Array, pattern: str = r"[,\s]+") -> tuple[pa.Array, np.ndarray]:
    """Values between commas and blanks."""
    pieces = pc.split_pattern_regex(inner, pattern)
    values, rows = pc.utf8_trim_whitespace(pc.list_flatten(pieces)), pc.list_parent_indices(pieces)
    present = pc.not_equal(values, "")
    return pc.cast(values.filter(present), pa.string()), rows.filter(present).to_numpy().astype(np.int64)


def _numbers(inner: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Numbers in the spelling of keys: 1. and 1e0 are 1."""
    values, rows = _divided(inner)
    return _as_keys(values), rows


def _as_keys(values: pa.Array) -> pa.Array:
    values = pc.utf8_ltrim(values, "+")
    fractions = pc.match_substring_regex(values, FRACTION)
    floats = pc.cast(values.filter(fractions), pa.float64())
    return pc.replace_with_mask(values, fractions, text(keys(floats)))


def _quoted(inner: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Text in quotes, without commas and backslashes in it."""
    pieces = pc.split_pattern(inner, ",")
    quoted = pc.utf8_trim_whitespace(pc.list_flatten(pieces))
    bare = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(quoted, 1, -1))
    present = pc.not_equal(bare, "")
    rows = pc.list_parent_indices(pieces).filter(present).to_numpy().astype(np.int64)
    return pc.cast(bare.filter(present), pa.string()), rows


def _parsed(inner: pa.Array, column: pa.Array, places: np.ndarray, name: str) -> tuple[pa.Array, np.ndarray]:
    """Values of lists in any other form; each distinct text is parsed once."""
    coded = inner.dictionary_encode()
    lists: list[list[str]] = []
    for code, distinct in enumerate(coded.dictionary.to_pylist()):
        try:
            lists.append(parse_list(distinct))
        except ValueError as error:
            _refuse(column, int(places[pc.index(coded.indices, code).as_py()]), name, str(error))
    nested = pa.array(lists, pa.list_(pa.string())).take(coded.indices)
    return pc.list_flatten(nested), pc.list_parent_indices(nested).to_numpy().astype(np.int64)


def parse_list(inner: str) -> list[str]:
    """Parse the content of a printed list's brackets to text values, without missing and empty ones.

    Args:
        inner: Text between the brackets.

    Raises:
        ValueError: If the text is not a list of single values; the message continues a sentence about the text.

    Example:
        >>> parse_list("'Rock, Pop', None, np.int64(7), 1.50, True")
        ['Rock, Pop', '7', '1.5', 'true']
    """
    values, place, between = [], 0, ""
    while inner[place:].strip():
        match = ITEM.match(inner, place)
        if match is None:
            raise ValueError(_reason(inner[place:].lstrip()))
        place = match.end()
        if match["call"]:
            closed = CLOSED.match(inner, place)
            if closed is None:
                raise ValueError("is not a list")
            place = closed.end()
        value = _value(match)
        values += [value] if value else []
        gap = BETWEEN.match(inner, place)
        if gap is None:
            raise ValueError(_reason(inner[place:]))
        sign = "," if "," in gap[0] else " "
        place = gap.end()
        if between and sign != between and inner[place:].strip():
            raise ValueError("has both commas and blanks between values")
        between = between or sign
    return values


def _value(match: re.Match[str]) -> str:
    if match["text"] is not None:
        return _unescaped(match["text"][1:-1]).strip()
    if match["number"] is not None:
        number: str = _as_keys(pa.array([match["number"]]))[0].as_py()
        if number.lstrip("-") == "inf":
            raise ValueError(f"holds {match['number']}, which is too large for a number")
        return number
    return TRUTHS.get(match["word"].removeprefix("np.").rstrip("_"), "")


def _unescaped(value: str) -> str:
    def plain(match: re.Match[str]) -> str:
        sign = match[1]
        if len(sign) == 1:
            return ESCAPED.get(sign, sign if sign in "\\'\"/" else f"\\{sign}")
        if int(sign[1:], 16) > 0x10FFFF:
            raise ValueError(f"holds \\{sign}, which is not a character")
        return chr(int(sign[1:], 16))

    if "\\" not in value:
        return value
    try:  # JSON writes a character beyond 16 bits as two halves
        return ESCAPE.sub(plain, value).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError("holds half a character") from None


def _reason(rest: str) -> str:
    if rest.startswith("..."):
        return "was shortened by numpy, which prints '...' in long arrays"
    if rest[:1] in "[({" and rest:
        return "holds lists in lists"
    if rest[:1] == ":":
        return "holds names with values, and is not a list"
    return f"is not a list as Python, JSON or numpy prints it, from {rest[:20]!r} on"


def _refuse(column: pa.Array, index: int, name: str, reason: str) -> None:
    shown = column[index].as_py()
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    hint = "write values.tolist()" if "shortened" in reason else HINT
    raise RowError(f"column {name!r}: {shown!r} {reason}", index, hint)
