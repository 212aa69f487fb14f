"""Shell completion of arguments: recipes, names of components, and names of keys."""

from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import typer

from mtl_lightning.plugins import KINDS, registry

RUNS = ("run", "resume", "init_from")
"""Keys whose values are run directories."""
CHOICES = ("recipe", "source", "encoder", "architecture", "weighter")
"""Keys whose values are names that plugins supply."""
SUPPLIED = (*KINDS, "recipe")
"""Kinds of names that plugins supply."""
TEMPLATES = tuple(kind for kind in SUPPLIED if (files("mtl_lightning") / "templates" / kind).is_dir())
"""Kinds for which there is a template of a plugin."""
Completer = Callable[[typer.Context, str], list[str]]


def complete_pairs(*further: str, choices: Sequence[str] = CHOICES, lists: bool = False) -> Completer:
    """Make a function that completes ``key=value``.

    Args:
        further: Keys of the command whose values are not names. Run directories are completed.
        choices: Keys of :data:`CHOICES` that the command takes.
        lists: Whether a value may be a list of names with commas.

    Example:
        >>> complete = complete_pairs("resume")
        >>> command = typer.main.get_command(typer.Typer(callback=print))
        >>> context = typer.Context(command)
        >>> complete(context, "re"), complete(context, "architecture=pl"), complete(context, "archi")[0]
        (['recipe=', 'resume='], ['architecture=ple'], 'architecture=adatt')
    """

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return list(_pairs(list(context.params.get("pairs") or ()), incomplete))

    def _pairs(words: list[str], incomplete: str) -> Iterator[str]:
        # bash splits recipe=a into three words, and replaces only the last one; the equals sign alone arrives as "".
        split = words[:-1] if words[-1:] == ["="] else words if not incomplete else []
        if split and split[-1] in (*choices, *further):
            yield from values(split[-1], incomplete)
            return
        key, separator, value = incomplete.partition("=")
        if separator:
            yield from (f"{key}={name}" for name in values(key, value))
            return
        keys = [name for name in (*choices, *further) if name.startswith(key)]
        # bash would add a space to a single key=, so values are offered.
        completed = [f"{keys[0]}={name}" for name in values(keys[0], "")] if len(keys) == 1 else []
        yield from completed or [f"{name}=" for name in keys]

    def values(key: str, value: str) -> Iterator[str]:
        if key in RUNS:
            yield from (name for name in _run_directories() if name.startswith(value))
        elif key in choices:
            before, comma, last = value.rpartition(",") if lists else ("", "", value)
            yield from (f"{before}{comma}{name}" for name in registry().names(key) if name.startswith(last))

    return complete


def _run_directories() -> list[str]:
    """Run directories in the current one, and in ``runs``, where runs are by default."""
    files = [file for pattern in ("*/config.yaml", "runs/*/*/config.yaml") for file in Path().glob(pattern)]
    return sorted(str(file.parent) for file in files)


def complete_names(kind: str) -> Callable[[str], list[str]]:
    """Make a function that completes a name of a kind: a recipe, or a kind of component.

    Example:
        >>> complete_names("weighter")("pc")
        ['pcgrad']
    """

    def complete(incomplete: str) -> list[str]:
        return [name for name in registry().names(kind) if name.startswith(incomplete)]

    return complete
