r"""Interpolations between settings: ``${seed}`` is replaced by the value of ``seed``, ``\${seed}`` stays text."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mtl_lightning.config.limits import HINT, MAX_BYTES, MAX_VALUES, too_many
from mtl_lightning.errors import ConfigError, Problem, did_you_mean, shown

MISSING = "???"
"""Value that users of the recipe must set."""
MAX_NESTED = 8
"""Largest depth of nested references: ``${a.${b}}`` has two."""
MAX_CHAIN = 150
"""Largest number of levels and references on the path to a value."""
MAX_EXPANSIONS = 10_000
"""Largest number of references in a recipe, repeated ones included."""

_OPEN = re.compile(r"(\\*)\$\{")
_TOKEN = re.compile(r"(\\*)\$\{|\}")
_ESCAPED_MISSING = re.compile(r"\\*\?\?\?")
_INDEX = re.compile(r"\[([^\[\]]*)\]")


class RefusedError(Exception):
    """An interpolation that can't be resolved: the reason and a hint."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


@dataclass
class Reference:
    """Content between ``${`` and ``}``: text and further references."""

    parts: list["str | Reference"] = field(default_factory=list)


def parse(text: str) -> list[str | Reference]:
    r"""Split a text into parts. A backslash before ``${`` makes it text; two backslashes are one.

    Raises:
        RefusedError: If a reference isn't closed, uses a resolver or is nested too deep.

    Example:
        >>> parse(r"x${a}\${b}")
        ['x', Reference(parts=['a']), '${b}']
    """
    levels: list[list[str | Reference]] = [[]]
    end = 0
    for token in _TOKEN.finditer(text):
        if token[0] == "}" and len(levels) == 1:
            continue
        _append(levels, text[end : token.start()])
        end = token.end()
        if token[0] == "}":
            inner = Reference(levels.pop())
            levels[-1].append(inner)
        else:
            _append(levels, token[1][: len(token[1]) // 2] + ("${" if len(token[1]) % 2 else ""))
            if len(token[1]) % 2 == 0:
                levels.append([])
                if len(levels) > MAX_NESTED + 1:
                    raise RefusedError(f"more than {MAX_NESTED} nested references", "refer to the setting")
    if len(levels) > 1:
        raise RefusedError(f"{shown(text)} has a reference that isn't closed", r"write } after it, or \${ for text")
    _append(levels, text[end:])
    return levels[0]


def _append(levels: list[list[str | Reference]], text: str) -> None:
    if len(levels) > 1 and ":" in text:
        raise RefusedError("uses a resolver", "only ${other.setting} is allowed in a recipe")
    if not text:
        return
    if levels[-1] and isinstance(levels[-1][-1], str):
        levels[-1][-1] += text
    else:
        levels[-1].append(text)


def escape(value: Any) -> Any:
    r"""Escape plain values so that every text is read as it is, including backslashes before ``${``.

    Example:
        >>> escape([r"a${b}", r"\${c}", "???"]) == [r"a\${b}", r"\\\${c}", r"\???"]
        True
    """
    if isinstance(value, dict):
        return {key: escape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [escape(item) for item in value]
    if not isinstance(value, str):
        return value
    if _ESCAPED_MISSING.fullmatch(value):
        return "\\" + value
    return _OPEN.sub(lambda opening: opening[1] * 2 + "\\${", value)


def resolve(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve every interpolation of a recipe.

    Raises:
        ConfigError: For every value that is missing (``???``) or refers to nothing, to itself or to a resolver.
        LimitError: If the result would be too large.

    Example:
        >>> resolve({"seed": 1, "split": {"seed": "${seed}"}, "run": {"dir": "runs/${split.seed}"}})
        {'seed': 1, 'split': {'seed': 1}, 'run': {'dir': 'runs/1'}}
    """
    resolution = _Resolution(plain)
    resolved: dict[str, Any] = resolution.value((), plain)
    if resolution.problems:
        raise ConfigError(list(resolution.problems))
    return resolved


class _Resolution:
    """One pass over a recipe; every text is resolved once."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.problems: dict[Problem, None] = {}
        self.texts: dict[tuple[str, ...], Any] = {}
        self.active: set[tuple[str, ...]] = set()
        self.depth = self.values = self.expansions = self.characters = 0

    def value(self, path: tuple[str, ...], node: Any, plain: bool = False) -> Any:
        """Value of a node; ``plain`` if its texts are resolved already."""
        self.values += 1
        if self.values > MAX_VALUES:
            raise too_many("recipe")
        try:
            with self.level():
                if isinstance(node, Mapping):
                    return {str(key): self.value((*path, str(key)), item, plain) for key, item in node.items()}
                if isinstance(node, list | tuple):
                    return [self.value((*path, str(i)), item, plain) for i, item in enumerate(node)]
                return self.text(path, node) if isinstance(node, str) and not plain else node
        except RefusedError as error:
            if self.active:
                raise
            self.problems[Problem(".".join(path) or "recipe", error.reason, error.hint)] = None
            return None

    def text(self, path: tuple[str, ...], raw: str) -> Any:
        """Value of a text after its references are followed."""
        if raw == MISSING:
            raise RefusedError("must be set")
        if _ESCAPED_MISSING.fullmatch(raw):
            return raw[1:]
        if "${" not in raw:
            return raw
        if path in self.texts:
            return self.texts[path]
        if path in self.active:
            raise RefusedError(f"{shown(raw)} refers to itself", "write the value in one of the places")
        self.active.add(path)
        try:
            parts = parse(raw)
            if len(parts) == 1 and isinstance(parts[0], Reference):
                resolved = self.follow(path, parts[0])
            else:
                resolved = self.joined(path, parts)
        except RefusedError as error:
            if error.reason == "uses a resolver":
                raise RefusedError(f"{shown(raw)} uses a resolver", error.hint) from None
            raise
        finally:
            self.active.discard(path)
        self.texts[path] = resolved
        return resolved

    def joined(self, path: tuple[str, ...], parts: list[str | Reference]) -> str:
        """Join text and the values of references."""
        words = []
        for part in parts:
            word = part if isinstance(part, str) else self.follow(path, part)
            if isinstance(word, dict | list):
                raise RefusedError("refers to a section or list within text", "refer to one value")
            words.append(str(word))
        text = "".join(words)
        self.characters += len(text)
        if self.characters > MAX_BYTES:
            raise RefusedError(f"references unfold to more than {MAX_BYTES / 1e6:.0f} million characters")
        return text

    def follow(self, path: tuple[str, ...], reference: Reference) -> Any:
        """Copy the value that a reference names."""
        self.expansions += 1
        if self.expansions > MAX_EXPANSIONS:
            raise RefusedError(f"there are more than {MAX_EXPANSIONS:,} references to follow")
        with self.level():
            name = self.joined(path, reference.parts).strip()
            node: Any = self.root
            here: tuple[str, ...] = ()
            plain = False
            for key in _keys(path, name):
                if isinstance(node, str) and not plain:
                    node, plain = self.text(here, node), True
                node = _child(node, key, name)
                here = (*here, key)
            if node == MISSING and not plain:
                raise RefusedError(f"refers to {shown(name)}, which must be set")
            resolved = self.value(here, node, plain)
            # The value of a text is cached, so that a section that replaces it must be copied.
            return (
                self.value(here, resolved, True)
                if isinstance(node, str) and isinstance(resolved, dict | list)
                else resolved
            )

    @contextmanager
    def level(self) -> Iterator[None]:
        """Count one more level or reference."""
        self.depth += 1
        try:
            if self.depth > MAX_CHAIN:
                raise RefusedError("is reached through too many references and levels", HINT)
            yield
        finally:
            self.depth -= 1


def _keys(path: tuple[str, ...], name: str) -> list[str]:
    """Keys from the root to the target of a reference at a path; each leading dot is one level up."""
    below = name.lstrip(".")
    dots = len(name) - len(below)
    if dots > len(path):
        raise RefusedError(f"refers to {shown(name)}, which is above the root of the recipe")
    keys = [*(path[: len(path) - dots] if dots else ()), *(key for key in _INDEX.sub(r".\1", below).split(".") if key)]
    if not keys:
        raise RefusedError("holds an empty reference", r"write ${setting}, or \${ for text")
    return keys


def _child(node: Any, key: str, name: str) -> Any:
    if isinstance(node, Mapping):
        for own, item in node.items():
            if str(own) == key:
                return item
        known = [str(own) for own in node]
    else:
        if isinstance(node, list | tuple) and re.fullmatch(r"[0-9]{1,6}", key) and int(key) < len(node):
            return node[int(key)]
        known = []
    raise RefusedError(f"refers to {shown(name)}, which is not a setting", did_you_mean(key[:60], known))
