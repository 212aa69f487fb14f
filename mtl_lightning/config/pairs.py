"""The command line's ``key=value`` pairs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl_lightning.config.yaml_keys import check_keys
from mtl_lightning.errors import MtlError

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
_WORDS = {"", "~", "null", "true", "false", "Null", "True", "False", "NULL", "TRUE", "FALSE"}


@dataclass(frozen=True)
class Pairs:
    """What the command line asks for.

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
        """The run directory to go on with, if given."""
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


def read_pairs(arguments: Sequence[str]) -> Pairs:
    """Sort the arguments of a command.

    Args:
        arguments: ``key=value`` pairs.

    Raises:
        MtlError: If one is not a pair.

    Example:
        >>> read_pairs(["recipe=ads", "weighter=famo"])
        Pairs(reserved={'recipe': 'ads'}, overrides=('weighter=famo',))
    """
    reserved, overrides = {}, []
    for pair in arguments:
        key, value = split_pair(pair)
        if key in RESERVED:
            if not value:
                raise MtlError(f"{key}= needs a value")
            reserved[key] = value
        else:
            overrides.append(pair)
    return Pairs(reserved, tuple(overrides))


def quote(value: str) -> str:
    """The value as YAML that reads as the user means it.

    Numbers, ``true``, ``false``, ``null``, lists, mappings and quoted strings are YAML; everything else is the string
    as it stands. So ``*.csv``, ``a #1``, ``007``, ``12:30`` and ``rating >= 4`` are what they look like.

    Example:
        >>> quote("1e-4"), quote("[1, 2]"), quote("*.csv")
        ('1e-4', '[1, 2]', '"*.csv"')
    """
    text = value.strip()
    if text in _WORDS or _NUMBER.fullmatch(text):
        return text
    if text[0] in "[{\"'":
        try:
            yaml.safe_load(text)
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
    layer = OmegaConf.create({})
    for pair in overrides:
        key, value = split_pair(pair)
        quoted = quote(value)
        try:
            check_keys(quoted, repr(pair))
            layer.merge_with_dotlist([f"{long_form(key, quoted)}={quoted}"])
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise MtlError(f"{pair!r} can't be read: {' '.join(str(error).split())}") from error
    container = OmegaConf.to_container(layer, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
