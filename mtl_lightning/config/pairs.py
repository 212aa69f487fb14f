"""The command line's ``key=value`` pairs."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mtl_lightning.config import yaml_text
from mtl_lightning.config.limits import check_limits
from mtl_lightning.errors import MtlError, shown

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


@dataclass(frozen=True)
class Pairs:
    """Arguments of the command line.

    Args:
        reserved: Values of the :data:`RESERVED` keys that were given.
        overrides: The other pairs, as they were written.
    """

    reserved: dict[str, str]
    overrides: tuple[str, ...]

    @property
    def recipe(self) -> str | None:
        """The recipe's name or path, if given."""
        return self.reserved.get("recipe")

    @property
    def resume(self) -> str | None:
        """The run directory to resume, if given."""
        return self.reserved.get("resume")


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


def read_pairs(
    arguments: Sequence[str], command: str = "fit", keys: Collection[str] = (), refused: Mapping[str, str] | None = None
) -> Pairs:
    """Sort the arguments of a command.

    Args:
        arguments: ``key=value`` pairs.
        command: Name of the command, for messages.
        keys: Keys of the command, in addition to ``recipe`` and ``resume``.
        refused: Keys that the command does not accept, with hints.

    Raises:
        MtlError: If one is not a pair, or its key is refused.

    Example:
        >>> read_pairs(["recipe=ads", "weighter=famo"])
        Pairs(reserved={'recipe': 'ads'}, overrides=('weighter=famo',))
    """
    reserved, overrides = {}, []
    for pair in arguments:
        key, value = split_pair(pair)
        if key in (refused or {}):
            raise MtlError(f"{command} does not accept {key}=", (refused or {})[key])
        if key in RESERVED and not value:
            raise MtlError(f"{key}= needs a value")
        if key in RESERVED or key in keys:
            reserved[key] = value
        else:
            overrides.append(pair)
    return Pairs(reserved, tuple(overrides))


def read_count(settings: Mapping[str, str], key: str, default: int, least: int = 1) -> int:
    """Integer of a command's setting.

    Raises:
        MtlError: If it is not an integer of at least ``least``.

    Example:
        >>> read_count({"jobs": "2"}, "jobs", 1)
        2
    """
    text = settings.get(key, str(default))
    if not text.isdecimal() or int(text) < least:
        raise MtlError(f"{key}={text}: expects an integer of at least {least}")
    return int(text)


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
