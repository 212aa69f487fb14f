"""Lists that were printed into text by Python, JSON, numpy or SQL: their values, or the row that is no list."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.numbers import RowError

OPENED = r"^\s*[\[({]"
"""Text that begins as a printed list does."""
BEGUN = r"""\s*(?:(?:[-+.0-9'"]|(?:None|nan|NaN|NaT|True|False)\b|np\.|(?:null|true|false)\s*,).*)?"""
CERTAIN = rf"(?s)^\s*(?:\[{BEGUN}\]|\({BEGUN}\)|\{{{BEGUN}\}})\s*$"
"""Text that is a printed list, whereas words may stand in brackets."""
ENCLOSED = r"(?s)^(?:\[.*\]|\(.*\)|\{.*\})$"
INTEGER = r"(?:0|-?[1-9][0-9]*)"
NUMBER = r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
TEXT = r"""(?:'[^'\\,]*'|"[^"\\,]*")"""


def _listed(value: str) -> str:
    """Pattern of such values with commas or, as numpy prints them, blanks between them."""
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
"""One value; several that numpy prints as a call of their type, too."""
CLOSED = re.compile(r"\s*\)")
BETWEEN = re.compile(r"\s*,\s*|\s+|\Z")
TRUTHS = {"True": "true", "False": "false", "true": "true", "false": "false"}
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}
HINT = "write ['a', 'b'], or choose a separator other than comma and blank if brackets belong to the values"


def values(column: pa.Array, name: str) -> tuple[pa.Array, np.ndarray]:
    """Values of printed lists, as text without the missing ones, and the row of each, ascending.

    Args:
        column: Text that matches :data:`OPENED` or :data:`CERTAIN`.
        name: The column's name, for messages.

    Raises:
        RowError: At the first row that is no list of single values.

    Example:
        >>> found, rows = values(pa.array(["[1 2]", "(1.0, None)", "['Rock, Pop', 'Jazz']"]), "tags")
        >>> found.to_pylist(), rows.tolist()
        (['1', '2', '1', 'Rock, Pop', 'Jazz'], [0, 0, 1, 2, 2])
    """
    trimmed = pc.utf8_trim_whitespace(column)
    enclosed = pc.match_substring_regex(trimmed, ENCLOSED)
    if not pc.all(enclosed).as_py():
        _refuse(column, pc.index(enclosed, False).as_py(), name, "begins with a bracket and is no list")
    inner = pc.utf8_slice_codeunits(trimmed, 1, -1)
    parts, waiting = [], np.arange(len(column))
    for pattern, read in ((INTEGERS, _divided), (NUMBERS, _numbers), (TEXTS, _quoted)):
        if len(waiting):
            right = pc.match_substring_regex(inner, pattern).to_numpy(zero_copy_only=False)
            if right.any():
                found, places = read(inner.filter(pa.array(right)))
                parts.append((found, waiting[right][places]))
                inner, waiting = inner.filter(pa.array(~right)), waiting[~right]
    if len(waiting):
        found, places = _parsed(inner, column, waiting, name)
        parts.append((found, waiting[places]))
    if not parts:
        return pa.array([], pa.string()), np.zeros(0, dtype=np.int64)
    rows = np.concatenate([places for _, places in parts])
    order = np.argsort(rows, kind="stable")
    return pa.concat_arrays([found for found, _ in parts]).take(pa.array(order)), rows[order]


def _divided(inner: pa.Array, pattern: str = r"[,\s]+") -> tuple[pa.Array, np.ndarray]:
    """Pieces between commas and blanks."""
    pieces = pc.split_pattern_regex(inner, pattern)
    found, rows = pc.utf8_trim_whitespace(pc.list_flatten(pieces)), pc.list_parent_indices(pieces)
    kept = pc.not_equal(found, "")
    return pc.cast(found.filter(kept), pa.string()), rows.filter(kept).to_numpy().astype(np.int64)


def _numbers(inner: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Numbers as keys have them: 1. and 1e0 are 1."""
    found, rows = _divided(inner)
    return _as_keys(found), rows


def _as_keys(found: pa.Array) -> pa.Array:
    found = pc.utf8_ltrim(found, "+")
    fractions = pc.match_substring_regex(found, FRACTION)
    floats = pc.cast(found.filter(fractions), pa.float64())
    return pc.replace_with_mask(found, fractions, text(keys(floats)))


def _quoted(inner: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Text in quotes, with nothing in it that a comma or a backslash could mean."""
    pieces = pc.split_pattern(inner, ",")
    found = pc.utf8_trim_whitespace(pc.list_flatten(pieces))
    bare = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(found, 1, -1))
    kept = pc.not_equal(bare, "")
    rows = pc.list_parent_indices(pieces).filter(kept).to_numpy().astype(np.int64)
    return pc.cast(bare.filter(kept), pa.string()), rows


def _parsed(inner: pa.Array, column: pa.Array, places: np.ndarray, name: str) -> tuple[pa.Array, np.ndarray]:
    """Values of lists that need a closer look, each distinct text once."""
    coded = inner.dictionary_encode()
    lists: list[list[str]] = []
    for code, one in enumerate(coded.dictionary.to_pylist()):
        try:
            lists.append(parse(one))
        except ValueError as error:
            _refuse(column, int(places[pc.index(coded.indices, code).as_py()]), name, str(error))
    nested = pa.array(lists, pa.list_(pa.string())).take(coded.indices)
    return pc.list_flatten(nested), pc.list_parent_indices(nested).to_numpy().astype(np.int64)


def parse(inner: str) -> list[str]:
    """Values between the brackets of a printed list, as text; those that are missing or empty are left out.

    Raises:
        ValueError: With what is wrong.

    Example:
        >>> parse("'Rock, Pop', None, np.int64(7), 1.50, True")
        ['Rock, Pop', '7', '1.5', 'true']
    """
    found, place, between = [], 0, ""
    while inner[place:].strip():
        match = ITEM.match(inner, place)
        if match is None:
            raise ValueError(_reason(inner[place:].lstrip()))
        place = match.end()
        if match["call"]:
            closed = CLOSED.match(inner, place)
            if closed is None:
                raise ValueError("is no list")
            place = closed.end()
        value = _value(match)
        found += [value] if value else []
        gap = BETWEEN.match(inner, place)
        if gap is None:
            raise ValueError(_reason(inner[place:]))
        sign = "," if "," in gap[0] else " "
        place = gap.end()
        if between and sign != between and inner[place:].strip():
            raise ValueError("has both commas and blanks between values")
        between = between or sign
    return found


def _value(match: re.Match[str]) -> str:
    if match["text"] is not None:
        return _unescaped(match["text"][1:-1]).strip()
    if match["number"] is not None:
        found: str = _as_keys(pa.array([match["number"]]))[0].as_py()
        if found.lstrip("-") == "inf":
            raise ValueError(f"holds {match['number']}, which is too large for a number")
        return found
    return TRUTHS.get(match["word"].removeprefix("np.").rstrip("_"), "")


def _unescaped(value: str) -> str:
    def plain(match: re.Match[str]) -> str:
        sign = match[1]
        if len(sign) == 1:
            return ESCAPED.get(sign, sign if sign in "\\'\"/" else f"\\{sign}")
        if int(sign[1:], 16) > 0x10FFFF:
            raise ValueError(f"holds \\{sign}, which is no character")
        return chr(int(sign[1:], 16))

    if "\\" not in value:
        return value
    try:  # JSON writes a character beyond 16 bits as two halves
        return ESCAPE.sub(plain, value).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError("holds half a character") from None


def _reason(rest: str) -> str:
    if rest.startswith("..."):
        return "was cut off by numpy, which prints '...' in long arrays"
    if rest[:1] in "[({" and rest:
        return "holds lists in lists"
    if rest[:1] == ":":
        return "holds names with values, and is no list"
    return f"is no list as Python, JSON or numpy prints it, from {rest[:20]!r} on"


def _refuse(column: pa.Array, index: int, name: str, reason: str) -> None:
    shown = column[index].as_py()
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    hint = "write values.tolist()" if "cut off" in reason else HINT
    raise RowError(f"column {name!r}: {shown!r} {reason}", index, hint)
