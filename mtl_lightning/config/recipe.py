"""Compose a recipe, what it extends and the command line's pairs into one plain mapping."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl_lightning.config.layers import Layer, expand, lay_over, read_layer
from mtl_lightning.config.pairs import read_overrides
from mtl_lightning.entries import normalize
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


@dataclass(frozen=True)
class RecipeText:
    """A recipe as it is written.

    Args:
        text: YAML.
        origin: What names it in errors, and tells it from all others.
        path: Its path if it is a file of the user's.
        owner: Distribution that supplies it otherwise.
    """

    text: str
    origin: str
    path: Path | None = None
    owner: str | None = None


def is_path(recipe: str) -> bool:
    """True if the recipe is a file's path, not a name: it ends in ``.yaml`` or ``.yml``, or has a separator.

    ``distribution/name`` is a name if a plugin of that distribution is installed, also one that failed: it is looked up
    in the registry, whose error says why the plugin isn't used. A file that is there is read in any case.
    """
    if recipe.endswith((".yaml", ".yml")):
        return True
    if "/" not in recipe and "\\" not in recipe:
        return False
    if recipe in {entry.qualified for _, entry in registry().entries("recipe")}:
        return False
    distribution = normalize(recipe.rpartition("/")[0])
    return Path(recipe).is_file() or distribution not in {plugin.distribution for plugin in registry().plugins}


def recipe_text(recipe: str, by: RecipeText | None = None) -> RecipeText:
    """Read a recipe.

    Args:
        recipe: Name or path.
        by: The recipe that extends it: a relative path is looked up beside it, a name in its own plugin first.

    Raises:
        MtlError: If there is no such recipe or it can't be read.
    """
    if not is_path(recipe):
        if Path(f"{recipe}.yaml").is_file() and recipe not in registry().names("recipe"):
            raise MtlError(f"no recipe is called {recipe!r}", f"the file is {recipe}.yaml")
        entry = registry().entry("recipe", recipe, owner=by.owner if by else None)
        assert entry.file is not None
        return RecipeText(entry.file.read_text(encoding="utf-8"), entry.qualified, None, entry.distribution)
    path = Path(recipe).expanduser()
    if by is not None and by.path is not None and not path.is_absolute():
        path = by.path.parent / path
    try:
        return RecipeText(path.read_text(encoding="utf-8"), str(path), path)
    except UnicodeDecodeError as error:
        raise MtlError(f"{path}: not UTF-8 at byte {error.start}", "save the recipe as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MtlError(f"{path}: {reason}", "a recipe is a name or a path") from error


def compose(recipe: str | None, overrides: Sequence[str] = ()) -> Composed:
    """Compose a recipe.

    A recipe that says ``extends: other`` is laid over the other one, and so on; the pairs are laid over the result.
    Interpolations between settings (``${seed}``) are resolved last. Resolvers (``${oc.env:HOME}``) are refused:
    every process and every later run of the same command must read the same configuration.

    Args:
        recipe: Name (found through the plugins) or path; None is an error that says so.
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
    following: str | None = recipe
    found: RecipeText | None = None
    while following is not None:
        found = recipe_text(following, found)
        identity = str(found.path.resolve()) if found.path else found.origin
        if identity in chain:
            raise MtlError("recipes extend each other: " + " → ".join([*chain[chain.index(identity) :], identity]))
        chain.append(identity)
        layer = read_layer(found.text, found.origin)
        extended = layer.pop("extends", None)
        if extended is not None and not isinstance(extended, str):
            raise MtlError(f"{found.origin}: extends takes one recipe, not {extended!r}")
        layers.append(layer)
        following = extended
    plain: Layer = {}
    for layer in reversed(layers):
        plain = lay_over(plain, layer)
    notes: list[str] = []
    plain = lay_over(plain, expand(read_overrides(overrides)), notes.append)
    return Composed(_short_name(recipe), resolve(plain), tuple(notes))


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
