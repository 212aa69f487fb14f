"""The commands ``recipes list``, ``recipes show`` and ``recipes copy``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.markup import escape

from mtl_lightning.cli.json_output import print_json
from mtl_lightning.config import compose, dump, recipe_text
from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console, printable
from mtl_lightning.report.render.tables import plain_table


def first_comment(text: str) -> str:
    r"""A recipe's description: its first comment.

    Example:
        >>> first_comment("# Which ads are clicked.\n\nextends: base\n")
        'Which ads are clicked.'
    """
    lines = (line.strip() for line in text.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def list_recipes(as_json: bool) -> None:
    """List the recipes of all plugins."""
    rows = [
        {
            "name": name,
            "about": first_comment(entry.file.read_text(encoding="utf-8")),
            "distribution": entry.distribution,
        }
        for name, entry in registry().entries("recipe")
        if entry.file is not None
    ]
    if as_json:
        print_json(rows)
        return
    table = plain_table(["recipe", "about", "distribution"], unwrapped=1)
    for row in rows:
        table.add_row(*(escape(row[key]) for key in ("name", "about", "distribution")))
    Console(highlight=False, emoji=False).print(table)


def show_recipe(name: str, settings: Sequence[str], raw: bool, as_json: bool) -> None:
    """Print a recipe with its settings, or its file unchanged.

    Raises:
        MtlError: If there is no such recipe, or a setting is wrong.
    """
    if raw and as_json:
        raise MtlError("--raw and --json exclude each other", "give one of them")
    if raw:
        text = recipe_text(name).text
        shown = printable(text) if sys.stdout.isatty() else text
        typer.echo(shown, nl=False, color=True)  # exact if redirected to a file
        return
    composed = compose(name, settings)
    for note in composed.notes:
        typer.echo(f"# {printable(note)}", err=True)
    if as_json:
        print_json(composed.plain)
        return
    typer.echo(dump(composed.plain), nl=False)


def copy_recipe(name: str, path: Path) -> None:
    """Copy a recipe to a file, or into a directory.

    Raises:
        MtlError: If there is no such recipe, or the file exists or can't be written.
    """
    text = recipe_text(name).text
    target = path / f"{name.rsplit('/', 1)[-1].removesuffix('.yaml')}.yaml" if path.is_dir() else path
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise MtlError(f"{target} exists and is not overwritten", "choose another path") from error
    except OSError as error:
        raise MtlError(f"{target} can't be written: {error.strerror}") from error
    shown = target if target.suffix in (".yaml", ".yml") else f"{target} (its name must end in .yaml to be used)"
    Console(highlight=False, emoji=False).print(f"wrote {escape(str(shown))}", soft_wrap=True)
