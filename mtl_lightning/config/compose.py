"""Compose a recipe, what it extends and the command line's pairs into one plain mapping."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl_lightning.config.layers import Layer, expand, lay_over, read_layer
from mtl_lightning.config.pairs import read_overrides
from mtl_lightning.config.suggest import did_you_mean
from mtl_lightning.errors import ConfigError, MtlError, Problem
from mtl_lightning.plugins import registry


@dataclass(frozen=True)
class Composed:
    """A composed recipe, not yet checked.

    Args:
        recipe: Short name of the recipe, for run directories and titles.
        plain: Plain containers, interpolations resolved.
        notes: Sentences about what was dropped on the way.
    """

    recipe: str
    plain: dict[str, Any]
    notes: tuple[str, ...] = ()


def is_path(recipe: str) -> bool:
    """True if the recipe is a file's path, not a name: it has a separator or ends in ``.yaml`` or ``.yml``."""
    return "/" in recipe or "\\" in recipe or recipe.endswith((".yaml", ".yml"))


def recipe_text(recipe: str, near: Path | None = None) -> tuple[str, Path | None]:
    """Text of a recipe, and its path if it is a file of the user's.

    Args:
        recipe: Name or path.
        near: Directory of the recipe that extends it, in which a relative path is looked up.

    Raises:
        MtlError: If there is no such recipe or it can't be read.
    """
    if not is_path(recipe):
        known = registry().recipes()
        if recipe not in known:
            hint = did_you_mean(recipe, known)
            if Path(f"{recipe}.yaml").exists():
                hint = f"the file is recipe=./{recipe}.yaml"
            raise MtlError(f"no recipe {recipe!r}", hint)
        return known[recipe].read_text(encoding="utf-8"), None
    path = Path(recipe).expanduser()
    if near is not None and not path.is_absolute():
        path = near / path
    try:
        return path.read_text(encoding="utf-8"), path
    except UnicodeDecodeError as error:
        raise MtlError(f"{path}: not UTF-8 at byte {error.start}", "save the recipe as UTF-8") from error
    except OSError as error:
        raise MtlError(f"{path}: {error.strerror or error}", "recipe= takes a name or a path") from error


def compose(recipe: str | None, overrides: Sequence[str] = ()) -> Composed:
    """Compose a recipe.

    A recipe that says ``extends: other`` is laid over the other one, and so on; the pairs are laid over the result.
    Interpolations between settings (``${seed}``) are resolved last. Resolvers (``${oc.env:HOME}``) are refused:
    every process and every later run of the same command must read the same configuration.

    Args:
        recipe: Name (found through the plugins) or path; None means ``base``.
        overrides: ``key=value`` pairs.

    Raises:
        MtlError: If a recipe can't be found or read, or a chain of ``extends`` is a cycle.
        ConfigError: If values can't be resolved; all of them are listed.

    Example:
        >>> composed = compose("base", ["weighter=pcgrad", "seed=3"])
        >>> composed.plain["seed"], composed.plain["weighter"]["name"]
        (3, 'pcgrad')
    """
    layers: list[Layer] = []
    chain: list[str] = []
    current: str | None = recipe or "base"
    near: Path | None = None
    while current is not None:
        text, path = recipe_text(current, near)
        origin = str(path.resolve()) if path else current
        if origin in chain:
            raise MtlError("recipes extend each other: " + " → ".join([*chain[chain.index(origin) :], origin]))
        chain.append(origin)
        layer = read_layer(text, str(path) if path else f"recipe {current}")
        following = layer.pop("extends", None)
        if following is not None and not isinstance(following, str):
            raise MtlError(f"{origin}: extends takes one recipe, not {following!r}")
        layers.append(layer)
        current, near = following, path.parent if path else None
    plain: Layer = {}
    for layer in reversed(layers):
        plain = lay_over(plain, layer)
    notes: list[str] = []
    plain = lay_over(plain, expand(read_overrides(overrides)), notes.append)
    return Composed(_short_name(recipe or "base"), resolve(plain), tuple(notes))


def _short_name(recipe: str) -> str:
    if not is_path(recipe):
        return recipe
    path = Path(recipe.replace("\\", "/"))
    return path.parent.parent.name if path.name == "config.yaml" and path.parent.parent.name else path.stem


def resolve(plain: Layer) -> Layer:
    """Resolve interpolations, and drop the entries that are null where null means "not there".

    Raises:
        ConfigError: For every value that is missing (``???``), refers to nothing or uses a resolver.
    """
    problems: list[Problem] = []
    try:
        loaded = OmegaConf.create(plain)
    except OmegaConfBaseException as error:
        raise ConfigError([Problem(error.full_key or "recipe", _first_line(error))]) from error
    resolved = _resolve_node(loaded, "", problems)
    if problems:
        raise ConfigError(problems)
    for section in ("features", "tasks", "heads", "losses", "metrics"):
        if isinstance(resolved.get(section), dict):
            resolved[section] = {name: entry for name, entry in resolved[section].items() if entry is not None}
    return {str(key): value for key, value in resolved.items()}


def _first_line(error: OmegaConfBaseException) -> str:
    return str(error.msg or error).splitlines()[0]


def _resolve_node(node: Any, path: str, problems: list[Problem]) -> Any:
    keys: Any = node.keys() if isinstance(node, DictConfig) else range(len(node))
    found = []
    for key in keys:
        here = f"{path}.{key}" if path else str(key)
        child = node._get_node(key)
        raw = child._value() if child is not None else None
        if isinstance(raw, str) and _uses_resolver(raw):
            problems.append(Problem(here, f"{raw!r} uses a resolver", "only ${other.setting} is allowed in a recipe"))
            continue
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            reason = "must be set" if raw == "???" else _first_line(error)
            problems.append(Problem(here, reason))
            continue
        found.append((str(key), _resolve_node(value, here, problems) if OmegaConf.is_config(value) else value))
    return dict(found) if isinstance(node, DictConfig) else [value for _, value in found]


def _uses_resolver(text: str) -> bool:
    """True if an unescaped ``${`` holds a colon before it closes."""
    depth, position = 0, 0
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text.startswith("${", position):
            depth, position = depth + 1, position + 2
            continue
        if depth and text[position] == ":":
            return True
        if depth and text[position] == "}":
            depth -= 1
        position += 1
    return False


def dump(plain: Layer) -> str:
    r"""A resolved configuration as a recipe: composing it again gives the same mapping.

    Example:
        >>> dump({"seed": 1, "source": {"name": "table", "path": "数据/*.csv"}})
        'seed: 1\nsource:\n  name: table\n  path: 数据/*.csv\n'
    """
    return OmegaConf.to_yaml(OmegaConf.create(_escape(plain)))


def _escape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(item) for item in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value
