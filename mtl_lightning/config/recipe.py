"""Compose a recipe, what it extends and the command line's pairs into one plain mapping."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mtl_lightning.config import interpolation, yaml_text
from mtl_lightning.config.layers import Layer, expand, lay_over, read_layer
from mtl_lightning.config.limits import MAX_BYTES, MAX_EXTENDS, LimitError, check_limits
from mtl_lightning.config.pairs import read_overrides
from mtl_lightning.errors import MtlError, shown
from mtl_lightning.files import read_regular
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.entries import normalize

CONTENT = "the recipe's mapping"
"""Origin of a recipe that is given by its content."""


@dataclass(frozen=True)
class Composed:
    """A composed recipe, not yet checked.

    Args:
        recipe: Short name of the recipe, for run directories and titles.
        plain: Plain containers, interpolations resolved.
        notes: Sentences about options that were dropped.
    """

    recipe: str
    plain: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecipeText:
    """The text of a recipe.

    Args:
        text: YAML.
        origin: Unique name, for errors.
        path: Its path if it is a file of the user's.
        owner: Distribution that supplies it otherwise.
    """

    text: str
    origin: str
    path: Path | None = None
    owner: str | None = None


def is_path(recipe: str) -> bool:
    """True if a recipe is given by the path of a file: it ends in ``.yaml`` or ``.yml``, or has a separator.

    ``distribution/name`` is a name if a plugin of that distribution is installed, even if it failed to load. The
    registry's error then gives the reason. An existing file is read in any case.
    """
    if recipe.endswith((".yaml", ".yml")):
        return True
    if "/" not in recipe and "\\" not in recipe:
        return False
    if recipe in {entry.qualified for _, entry in registry().entries("recipe")}:
        return False
    distribution = normalize(recipe.rpartition("/")[0])
    return _is_file(recipe) or distribution not in {plugin.distribution for plugin in registry().plugins}


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name that is too long, a folder that can't be entered
        return False


def recipe_text(recipe: str, by: RecipeText | None = None) -> RecipeText:
    """Read a recipe.

    Args:
        recipe: Name or path.
        by: The recipe that extends it. A relative path is looked up next to that recipe, a name in its plugin first.

    Raises:
        MtlError: If there is no such recipe or it can't be read.
    """
    if not is_path(recipe):
        if _is_file(f"{recipe}.yaml") and recipe not in registry().names("recipe"):
            raise MtlError(f"no recipe is called {recipe!r}", f"the file is {recipe}.yaml")
        entry = registry().entry("recipe", recipe, owner=by.owner if by else None)
        assert entry.file is not None
        return RecipeText(entry.file.read_text(encoding="utf-8"), entry.qualified, None, entry.distribution)
    try:
        path = Path(recipe).expanduser()
        if by is not None and by.path is not None and not path.is_absolute():
            path = by.path.parent / path
        return RecipeText(read_regular(path, MAX_BYTES).decode(), str(path), path)
    except UnicodeDecodeError as error:
        raise MtlError(f"{path}: not UTF-8 at byte {error.start}", "save the recipe as UTF-8") from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~name of an unknown user
        reason = getattr(error, "strerror", None) or error
        raise MtlError(f"{recipe}: {reason}", "a recipe is a name or a path") from error


def compose(recipe: str | Mapping[str, Any] | None, overrides: Sequence[str] = ()) -> Composed:
    """Compose a recipe.

    A recipe with ``extends: other`` is merged over the other one, and so on; the pairs are merged over the result.
    Interpolations between settings (``${seed}``) are resolved last. Resolvers (``${oc.env:HOME}``) are refused:
    every process and every later run of the same command must read the same configuration.

    Args:
        recipe: Name (found through the plugins), path, or content as a mapping; None is an error that says so.
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
    if recipe is None:
        raise MtlError("no recipe is given", "for instance recipe=ads; `recipes list` shows them")
    following: str | Mapping[str, Any] | None = recipe
    text: RecipeText | None = None
    while following is not None:
        text = recipe_text(following, text) if isinstance(following, str) else _recipe_of(following)
        identity = str(text.path.resolve()) if text.path else text.origin
        if identity in chain:
            raise MtlError("recipes extend each other: " + " → ".join([*chain[chain.index(identity) :], identity]))
        chain.append(identity)
        if len(chain) > MAX_EXTENDS:
            raise LimitError(f"{chain[0]}: more than {MAX_EXTENDS} recipes extend each other")
        layer = read_layer(text.text, text.origin)
        extended = layer.pop("extends", None)
        if extended is not None and not isinstance(extended, str):
            raise MtlError(f"{text.origin}: extends takes one recipe, not {shown(extended)}")
        layers.append(layer)
        following = extended
    plain: Layer = {}
    for layer in reversed(layers):
        plain = lay_over(plain, layer)
    notes: list[str] = []
    plain = lay_over(plain, expand(read_overrides(overrides)), notes.append)
    return Composed(_short_name(recipe), resolve(plain), tuple(notes))


def _recipe_of(content: Mapping[str, Any]) -> RecipeText:
    """A mapping as a recipe that is written in YAML, so that the same rules hold."""
    try:
        return RecipeText(yaml_text.dump(dict(content)), CONTENT)
    except yaml.YAMLError as error:
        raise MtlError(f"{CONTENT}: {' '.join(str(error).split())}", "it takes plain values, as YAML does") from error


def _short_name(recipe: str | Mapping[str, Any]) -> str:
    if not isinstance(recipe, str):
        extended = recipe.get("extends")
        return _short_name(extended) if isinstance(extended, str) else "recipe"
    if not is_path(recipe):
        return recipe
    path = Path(recipe.replace("\\", "/"))
    return path.parent.parent.name if path.name == "config.yaml" and path.parent.parent.name else path.stem


def resolve(plain: Layer) -> Layer:
    """Resolve interpolations, and drop the entries that are null where null means "not there".

    Raises:
        ConfigError: For every value that is missing (``???``), refers to nothing or uses a resolver.
        LimitError: If the recipe is too large or too deep.
    """
    check_limits(plain, "recipe")
    resolved = interpolation.resolve(plain)
    check_limits(resolved, "recipe")
    for section in ("features", "tasks", "heads", "losses", "metrics"):
        if isinstance(resolved.get(section), dict):
            resolved[section] = {name: entry for name, entry in resolved[section].items() if entry is not None}
    return resolved


def dump(plain: Layer) -> str:
    r"""A resolved configuration as a recipe: composing it again gives the same mapping.

    Example:
        >>> dump({"seed": 1, "source": {"name": "table", "path": "数据/*.csv"}})
        'seed: 1\nsource:\n  name: table\n  path: 数据/*.csv\n'
    """
    return yaml_text.dump(interpolation.escape(plain))
