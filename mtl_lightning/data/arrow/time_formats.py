"""Times in text of a given format, with the directives of ``strptime``."""

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.errors import DataError

NUMBER, WORD = r"\s*\d{1,2}", r"\pL+"
DIRECTIVES = {
    "Y": r"\d{1,4}",
    **dict.fromkeys("demHIklMSyUWwu", NUMBER),
    **dict.fromkeys("aAbBh", WORD),
    "j": r"\d{1,3}",
    "p": r"[AaPp]\.?[Mm]\.?",
    **dict.fromkeys("nt", r"\s*"),
    "f": r"\d{1,9}",
    "z": r"(?:Z|[+-]\d{2}:?(?:\d{2})?)",
    "Z": r"(?:UTC|GMT|Z)",
    "%": "%",
}
"""Pattern of the text of each directive."""
SHORT = {"T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "F": "%Y-%m-%d"}
"""Abbreviations of several directives."""
OWN = "fzZ"
"""Directives parsed here, because Arrow ignores them, refuses them or reads them on some platforms only."""
AFTER_SHORT = pa.array([3, 5, 7, 10, 12])
"""Months after a month of fewer than 31 days."""
OFFSET = r"^(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?$"
"""Offset from UTC."""
COMMON = (
    "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S.%f UTC", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S.%f %z",
    "%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M:%S.%f", "%d.%m.%Y", "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d", "%d-%m-%Y", "%d %b %Y", "%b %d, %Y",
    "%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z",
)  # fmt: skip
"""Formats of logs, in the order in which hints try them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A directive of a format, or the text between two directives.

    Args:
        source: Text in the format.
        pattern: Regular expression of the matching text in values.
        name: Letter of the directive; empty for other text.
    """

    source: str
    pattern: str
    name: str = ""


def check_format(text: str, place: str, *, dated: bool = False) -> None:
    """Check the directives of a format.

    Args:
        text: The format.
        place: The setting, for the error.
        dated: The format must have a year.

    Raises:
        DataError: If a directive is unknown, repeated or missing.

    Example:
        >>> check_format("%Y-%m-%d %H:%M:%S.%f", "split.format", dated=True)
        >>> check_format("YYYY-MM-DD", "split.format", dated=True)
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: split.format: 'YYYY-MM-DD' has no year (as in strptime: %Y-%m-%d %H:%M:%S)
    """
    names = [piece.name for piece in _pieces(text)]
    for name in names:
        if name and name not in DIRECTIVES:
            known = ", ".join(f"%{letter}" for letter in [*DIRECTIVES, *SHORT])
            raise DataError(f"{place}: {text!r} has the unknown directive '%{name}'", f"known are {known}")
    for name in OWN:
        if names.count(name) > 1:
            raise DataError(f"{place}: {text!r} repeats %{name}", "write it once")
    if dated and not {"Y", "y"} & set(names):
        raise DataError(f"{place}: {text!r} has no year", "as in strptime: %Y-%m-%d %H:%M:%S")


def parse_times(values: pa.Array, text: str) -> pa.Array:
    """Parse times in microseconds, [N] → [N], in UTC if the format has an offset; null if a text does not fit it.

    Args:
        values: Text.
        text: The format. ``%f`` is a fraction of a second of one to nine digits, of which six count. ``%Z`` matches UTC
            and GMT only; other names of zones are ambiguous, so their text is null.

    Example:
        >>> parse_times(pa.array(["2024/05/31 13:30:05.25"]), "%Y/%m/%d %H:%M:%S.%f").to_pylist()
        [datetime.datetime(2024, 5, 31, 13, 30, 5, 250000)]
        >>> parse_times(pa.array(["31.02.2024", "2024-05-31"]), "%d.%m.%Y").to_pylist()
        [None, None]
    """
    pieces = _pieces(text)
    if any(piece.name in OWN for piece in pieces if piece.name):
        return _by_parts(values, pieces)
    parsed = pc.strptime(values, format=text, unit="us", error_is_null=True)
    rolled = pc.and_(pc.is_in(pc.day(parsed), pa.array([1, 2, 3])), pc.is_in(pc.month(parsed), AFTER_SHORT))
    if not pc.any(rolled).as_py():
        return parsed
    # Arrow reads the 31st of February as the 2nd of March.
    return pc.replace_with_mask(parsed, pc.fill_null(rolled, False), _by_parts(values.filter(rolled), pieces))


def readable_formats(value: str) -> list[str]:
    """Formats of :data:`COMMON` that fit a text.

    Example:
        >>> readable_formats("05/31/2024"), readable_formats("05/06/2024"), readable_formats("soon")
        (['%m/%d/%Y'], ['%m/%d/%Y', '%d/%m/%Y'], [])
    """
    text = pa.array([value])
    return [candidate for candidate in COMMON if parse_times(text, candidate)[0].is_valid]


def format_hint(value: str, place: str) -> str:
    """Hint with the setting that reads a text as a time.

    Args:
        value: The text.
        place: The setting.

    Example:
        >>> format_hint("2024/05/31", "split.format")
        "write it like 2024-05-31 13:30, or set split.format='%Y/%m/%d'"
    """
    formats = " or ".join(map(repr, readable_formats(value))) or "…, as in strptime"
    return f"write it like 2024-05-31 13:30, or set {place}={formats}"


def _pieces(text: str) -> list[Piece]:
    long = re.sub("%(.)", lambda match: SHORT.get(match[1], match[0]), text)
    pieces = []
    for source in re.findall(r"%.?|\s+|[^%\s]+", long, re.DOTALL):
        if source.startswith("%"):
            name = source[1:] or "%"
            pieces.append(Piece(source, DIRECTIVES.get(name, ""), name))
        else:
            pieces.append(Piece(source, r"\s*" if source.isspace() else re.escape(source)))
    return pieces


def _by_parts(values: pa.Array, pieces: list[Piece]) -> pa.Array:
    """Parse each directive by itself; ten times as slow as Arrow's parser."""
    groups = "".join(f"(?P<p{i}>{piece.pattern})" for i, piece in enumerate(pieces))
    fields = pc.extract_regex(pc.cast(values, pa.large_string()), f"^{groups}$")
    parts = {piece.name: pc.struct_field(fields, i) for i, piece in enumerate(pieces) if piece.name}
    native = [i for i, piece in enumerate(pieces) if piece.name not in (*OWN, "")]
    # Blanks keep adjacent digits apart: %Y%m%d becomes %Y %m %d.
    blank = pa.scalar(" ", pa.large_string())
    joined = pc.binary_join_element_wise(*(pc.struct_field(fields, i) for i in native), blank)
    joined = pc.if_else(fields.is_valid(), joined, pa.scalar(None, pa.large_string()))
    parsed = pc.strptime(joined, format=" ".join(pieces[i].source for i in native), unit="us", error_is_null=True)
    for name in ("d", "e"):
        if name in parts:
            same = pc.equal(pc.day(parsed), pc.cast(_digits(parts[name], parsed), pa.int64()))
            parsed = pc.if_else(same, parsed, pa.scalar(None, parsed.type))
    if "f" in parts:
        micro = pc.utf8_slice_codeunits(pc.utf8_rpad(_digits(parts["f"], parsed), 6, "0"), 0, 6)
        parsed = pc.add(parsed, pc.cast(pc.cast(micro, pa.int64()), pa.duration("us")))
    return pc.subtract(parsed, _offset(_digits(parts["z"], parsed))) if "z" in parts else parsed


def _digits(part: pa.Array, parsed: pa.Array) -> pa.Array:
    """Text of a directive; null if the whole text could not be parsed."""
    return pc.if_else(pc.is_valid(parsed), pc.utf8_trim_whitespace(part), pa.scalar(None, part.type))


def _offset(part: pa.Array) -> pa.Array:
    """Offsets from UTC (``+02:00``, ``-0330``, ``+00``, ``Z``) as durations."""
    zulu = pc.equal(part, "Z")
    fields = pc.extract_regex(pc.if_else(zulu, "+00", part), OFFSET)
    sign, hours, minutes = (pc.struct_field(fields, i) for i in range(3))
    minutes = pc.if_else(pc.equal(minutes, ""), "0", minutes)
    total = pc.add(pc.multiply(pc.cast(hours, pa.int64()), 60), pc.cast(minutes, pa.int64()))
    signed = pc.if_else(pc.equal(sign, "-"), pc.negate(total), total)
    return pc.cast(pc.multiply(signed, 60_000_000), pa.duration("us"))
