"""Numbers in text: decimal commas, thousands separators and units."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.errors import DataError

AFFIX = 8
"""Largest number of characters of a sign and unit before or after a number."""


@dataclass(frozen=True)
class NumberText:
    """Spelling of numbers.

    Args:
        decimal: Character before the decimals.
        thousands: Character between groups of digits; None if there is none.

    Raises:
        DataError: If a character is a digit or a sign, or both are the same.

    Example:
        >>> german = NumberText(decimal=",", thousands=".")
        >>> german.plain(pa.array(["1.234,5", "3,14", "1.5 l", None, "ab"])).to_pylist()
        ['1234.5', '3.14', '1.5 l', None, 'ab']
    """

    decimal: str = "."
    thousands: str | None = None

    def __post_init__(self) -> None:
        for name, character in {"decimal": self.decimal, "thousands": self.thousands}.items():
            if character is None:
                continue
            if len(character) != 1:
                raise DataError(f"source.{name}: {character!r} is not one character")
            if character.isalnum() or character in "+-\r\n":
                raise DataError(
                    f"source.{name}: {character!r} can't separate digits", "such as a comma, a dot, a blank"
                )
        if self.decimal == self.thousands:
            raise DataError(f"source.thousands: {self.thousands!r} is also source.decimal")

    @property
    def usual(self) -> bool:
        """True if numbers are spelled as Arrow reads them."""
        return self.decimal == "." and self.thousands is None

    def plain(self, values: pa.Array) -> pa.Array:
        """Rewrite numbers to plain ones, ``1234.5``; signs, units and other text are unchanged, [N] → [N]."""
        if self.usual:
            return values
        numeric = pc.match_substring_regex(values, self._pattern())
        if not pc.any(numeric).as_py():
            return values
        rewritten = values
        if self.thousands is not None:
            rewritten = pc.replace_substring(rewritten, self.thousands, "")
        if self.decimal != ".":
            rewritten = pc.replace_substring(rewritten, self.decimal, ".")
        return pc.if_else(numeric, rewritten, values)

    def _pattern(self) -> str:
        mark, point = re.escape(self.thousands or ""), re.escape(self.decimal)
        # Blanks also separate numbers and units; commas and dots are parts of other text.
        signs = ("" if not mark or (self.thousands or "").isspace() else mark) + ("" if self.decimal == "." else point)
        affix = f"[^0-9{signs}]{{0,{AFFIX}}}"
        grouped = f"[0-9]{{1,3}}(?:{mark}[0-9]{{2,3}})*{mark}[0-9]{{3}}|" if mark else ""
        number = f"(?:(?:{grouped}[0-9]+)(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"
        return f"^{affix}{number}{affix}$"


USUAL = NumberText()
"""Spelling with a dot before the decimals and nothing between thousands."""


def without_units(values: pa.Array, units: Sequence[str]) -> pa.Array:
    """Remove units before and after numbers, [N] → [N].

    Args:
        values: Text.
        units: Units to remove, once on each side, with the blanks around them.

    Example:
        >>> without_units(pa.array(["$12.99", "-$5", "45 %", "$", None]), ["$", "%"]).to_pylist()
        ['12.99', '-5', '45', '$', None]
    """
    if not units:
        return values
    choices = "|".join(re.escape(unit) for unit in sorted(units, key=len, reverse=True))
    stripped = pc.replace_substring_regex(values, rf"^\s*([+-]?)\s*(?:{choices})\s*", r"\1")
    stripped = pc.replace_substring_regex(stripped, rf"\s*(?:{choices})\s*$", "")
    return pc.if_else(pc.match_substring_regex(values, "[0-9]"), stripped, values)


def check_units(units: Sequence[str]) -> None:
    """Refuse units that could be parts of numbers.

    Args:
        units: The units.

    Raises:
        DataError: If a unit has digits, signs, dots or commas, or is spelled like a number.

    Example:
        >>> check_units(["$", "kg", "°C"])
        >>> check_units(["1"])
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: strip holds '1' (units such as $, % or kg: no digits, signs, dots or commas)
    """
    for unit in units:
        wrong = not unit.strip() or re.search("[0-9.,+-]", unit) or unit.strip().lower() in ("e", "nan", "inf")
        if wrong:
            raise DataError(f"strip holds {unit!r}", "units such as $, % or kg: no digits, signs, dots or commas")
