"""The command line's ``key=value`` pairs."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from mtl_lightning.config import yaml_text
from mtl_lightning.config.limits import check_limits
from mtl_lightning.errors import MtlError, did_you_mean, shown

NAMED = {
    "source": "name",
    "encoder": "name",
    "architecture": "name",
    "weighter": "name",
    "optimizer": "name",
    "split": "by",
}
"""Sections that are one choice: ``weighter=x`` is short for ``weighter.name=x``."""

NAMED_PER_ENTRY = {"heads": "name", "losses": "name", "features": "kind", "tasks": "kind"}
"""Sections of choices: ``heads.click=x`` is short for ``heads.click.name=x``."""

SHORT = {"init_from": "run.init_from"}
"""Settings that have a key of their own."""

RESERVED = ("recipe", "resume")
"""Keys that say what to run, not how."""

_NUMBER = re.compile(
    r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?|[+-]?\.[0-9]+([eE][+-]?[0-9]+)?|[+-]?\.(inf|nan)"
)
_PART = re.compile(r"\[((?:\\.|[^\]\\])*)\]|((?:\\[.\[\]=]|\\(?![.\[\]=])|[^.\[\\])+)", re.DOTALL)
_KEY = re.compile(rf"(?:{_PART.pattern})(?:\.(?:{_PART.pattern})|\[(?:\\.|[^\]\\])*\])*", re.DOTALL)
_WORDS = {"", "~", "null", "true", "false", "Null", "True", "False", "NULL", "TRUE", "FALSE"}


QUOTES = "'\""
Settings = Literal["all", "dotted", "none"]


@dataclass(frozen=True)
class Arguments:
    """Arguments of a command.

    Args:
        command: Name of the command, for errors.
        own: Values of the command's own keys that were given.
        settings: The other pairs, as they were written.
    """

    command: str
    own: dict[str, str]
    settings: tuple[str, ...]

    def wrong(self, key: str, hint: str) -> MtlError:
        """The error of a value that can't be used, with what to write instead."""
        return MtlError(f"{self.command}: wrong value {key}={shown(self.own[key]).strip(QUOTES)}", hint)

    def choose(self, key: str, choices: Sequence[str]) -> str:
        """The value of a key with few values; the first one by default.

        Raises:
            MtlError: If it is another value.
        """
        chosen = self.own.get(key, choices[0])
        if chosen not in choices:
            raise self.wrong(key, f"one of {', '.join(choices)}")
        return chosen

    def switch(self, key: str, default: str = "true") -> bool:
        """The value of a key that is ``true`` or ``false``, in any case.

        Raises:
            MtlError: If it is another value.
        """
        text = self.own.get(key, default).lower()
        if text not in ("true", "false"):
            raise self.wrong(key, "true or false")
        return text == "true"

    def number(self, key: str, default: float, least: float, most: float = math.inf) -> Any:
        """The value of a key as a number of the default's type.

        Raises:
            MtlError: If it is not such a number, or less than ``least`` or more than ``most``.

        Example:
            >>> read_arguments("compare", ["jobs=3"], optional=["jobs"]).number("jobs", 2, least=1)
            3
        """
        kind = type(default)
        try:
            value = kind(self.own.get(key, default))
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            above = "above 0" if 0 < least < 1 else f"of at least {least:g}"
            upper = "" if most == math.inf else f" and at most {most:.15g}"
            raise self.wrong(key, f"{'an integer' if kind is int else 'a number'} {above}{upper}")
        return value


def split_pair(pair: str) -> tuple[str, str]:
    """Key and value of one pair, split at the first ``=``.

    Raises:
        MtlError: If it is not a pair.

    Example:
        >>> split_pair("tasks.like.label=rating >= 4")
        ('tasks.like.label', 'rating >= 4')
    """
    key, equals, value = pair.partition("=")
    key = key.strip()
    if not equals or not key:
        raise MtlError(f"{pair!r} is not a key=value pair", "write for instance recipe=ads trainer.max_epochs=3")
    if not all(part.strip() for part in key.split(".")):
        raise MtlError(f"{pair!r}: the key has an empty part", "separate the parts of a key by single dots")
    return key, value


def read_arguments(
    command: str,
    pairs: Sequence[str],
    needed: Sequence[str] = (),
    optional: Sequence[str] = (),
    *,
    settings: Settings = "none",
    refused: Mapping[str, str] | None = None,
) -> Arguments:
    """Sort the arguments of a command into its own keys and settings.

    Args:
        command: Name of the command, for errors.
        pairs: ``key=value`` pairs; later ones win.
        needed: Own keys that must have a value.
        optional: Own keys that may be missing. ``space.`` includes all keys below ``space``.
        settings: Other keys that are settings: all, those with a dot, or none.
        refused: Keys that the command sets itself, with what to write instead.

    Raises:
        MtlError: If one is not a pair, is unknown or refused, or a needed one is missing.

    Example:
        >>> read_arguments("fit", ["recipe=ads", "weighter=famo"], ["recipe"], settings="all")
        Arguments(command='fit', own={'recipe': 'ads'}, settings=('weighter=famo',))
    """
    own, others, keys = {}, [], (*needed, *optional)
    for pair in pairs:
        key, value = split_pair(pair)
        if key in (refused or {}):
            raise MtlError(f"{command} does not accept {key}=", (refused or {})[key])
        if key in keys or f"{key.partition('.')[0]}." in keys:
            own[key] = value
        elif settings == "all" or (settings == "dotted" and "." in key):
            others.append(pair)
        else:
            raise MtlError(f"{command}: unknown argument {key!r}", did_you_mean(key, keys))
        if key in RESERVED and not value:
            raise MtlError(f"{command}: {key}= needs a value")
    for key in needed:
        if not own.get(key):
            raise MtlError(f"{command} needs {key}=", " ".join([command, *(f"{name}=…" for name in needed)]))
    return Arguments(command, own, tuple(others))


def quote(value: str) -> str:
    """The value as YAML that reads as the user means it.

    Numbers, ``true``, ``false``, ``null``, lists, mappings and quoted strings are YAML; everything else is a string.
    So ``*.csv``, ``a #1``, ``007``, ``12:30`` and ``rating >= 4`` stay strings.

    Example:
        >>> quote("1e-4"), quote("[1, 2]"), quote("*.csv")
        ('1e-4', '[1, 2]', '"*.csv"')
    """
    text = value.strip()
    if text in _WORDS or _NUMBER.fullmatch(text):
        return text
    if text[0] in "[{\"'":
        try:
            yaml_text.load(text, "a value")
        except yaml.YAMLError:
            pass  # a glob such as [ab]*.csv or an expression such as "F" == gender
        else:
            return text
    escaped = "".join(
        c if c.isprintable() else f"\\U{ord(c):08x}" for c in value.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'


def long_form(key: str, quoted: str) -> str:
    """The full key of a short one: ``weighter`` is ``weighter.name``.

    Args:
        key: Dotted key as written.
        quoted: The value as YAML; a mapping or null replaces the whole section, so its key stays.
    """
    if key in SHORT:
        return SHORT[key]
    if quoted.startswith("{") or quoted in _WORDS:
        return key
    section, _, rest = key.partition(".")
    if not rest and section in NAMED:
        return f"{key}.{NAMED[section]}"
    if rest and "." not in rest and section in NAMED_PER_ENTRY:
        return f"{key}.{NAMED_PER_ENTRY[section]}"
    return key


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """The pairs as one nested mapping; later pairs win. Interpolations stay unresolved.

    Raises:
        MtlError: If a pair contradicts another or can't be read.

    Example:
        >>> read_overrides(["weighter=mgda", "weighter.eps=1e-4"])
        {'weighter': {'name': 'mgda', 'eps': 0.0001}}
    """
    layer: dict[str, Any] = {}
    for pair in overrides:
        key, value = split_pair(pair)
        quoted = quote(value)
        try:
            read = yaml_text.load(quoted, shown(pair, 120))
        except yaml.YAMLError as error:
            raise MtlError(f"{shown(pair, 120)} can't be read: {' '.join(str(error).split())}") from error
        _assign(layer, _split_key(long_form(key, quoted), pair), read, pair)
        check_limits(layer, shown(pair, 120))
    return layer


def _split_key(key: str, pair: str) -> list[str]:
    r"""The parts of a dotted key; ``a[b]`` is ``a.b``, and a backslash keeps a dot or bracket as it is."""
    if not _KEY.fullmatch(key):
        raise MtlError(
            f"{shown(pair, 120)}: the brackets of the key don't match", r"write \[ for one that belongs to a name"
        )
    return [re.sub(r"\\([.\[\]=])", r"\1", part[0] or part[1]) for part in _PART.findall(key)]


def _assign(layer: dict[str, Any], keys: Sequence[str], value: Any, pair: str) -> None:
    """Set a value below nested keys; mappings merge, and what is neither a mapping nor a list gives way."""
    node: Any = layer
    for place, key in enumerate(keys):
        last = place == len(keys) - 1
        at: Any = key
        if isinstance(node, list):
            if not (key.isascii() and key.isdigit() and len(key) < 7 and int(key) < len(node)):
                known = f"0 to {len(node) - 1}" if node else "none"
                raise MtlError(
                    f"{shown(pair, 120)}: {key!r} is not an index of the list given before", f"indices: {known}"
                )
            at = int(key)
        old = node[at] if isinstance(node, list) else node.get(at)
        if last:
            node[at] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        elif not isinstance(old, dict | list):
            node[at] = {}
        node = node[at]


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping over another: mappings within them merge, everything else is replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return result
