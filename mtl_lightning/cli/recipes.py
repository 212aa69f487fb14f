"""The commands ``recipes list``, ``recipes show`` and ``recipes copy``."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mtl_lightning.cli.completion import complete_names
from mtl_lightning.cli.json_output import AsJson, print_json
from mtl_lightning.config import compose, dump, recipe_text
from mtl_lightning.errors import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning.printable import Console, printable

Name = Annotated[str, typer.Argument(help="Name of a recipe, or a path.", autocompletion=complete_names("recipe"))]
Settings = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Settings that change.")]


def register(app: typer.Typer) -> None:
    """Add the group to an app."""
    group = typer.Typer(no_args_is_help=True, help="List, show and copy recipes.")
    group.command("list")(_list)
    group.command("show")(_show)
    group.command("copy")(_copy)
    app.add_typer(group, name="recipes")


def first_comment(text: str) -> str:
    r"""A recipe's description: its first comment.

    Example:
        >>> first_comment("# Which ads are clicked.\n\nextends: base\n")
        'Which ads are clicked.'
    """
    lines = (line.strip() for line in text.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def _list(as_json: AsJson = False) -> None:
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
    table = Table("recipe", "about", "distribution")
    for row in rows:
        table.add_row(*(escape(row[key]) for key in ("name", "about", "distribution")))
    Console(highlight=False, emoji=False).print(table)


def _show(
    name: Name,
    settings: Settings = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print the file unchanged.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a recipe, with everything that it extends and the changes of the command line."""
    if raw and as_json:
        raise MtlError("--raw and --json exclude each other", "give one of them")
    if raw:
        text = recipe_text(name).text
        shown = printable(text) if sys.stdout.isatty() else text
        typer.echo(shown, nl=False, color=True)  # exact if redirected to a file
        return
    composed = compose(name, settings or [])
    for note in composed.notes:
        typer.echo(f"# {printable(note)}", err=True)
    if as_json:
        print_json(composed.plain)
        return
    typer.echo(dump(composed.plain), nl=False)


def _copy(
    name: Name,
    path: Annotated[Path, typer.Argument(help="Target: a file that does not exist yet, or a directory.")],
) -> None:
    """Copy a recipe to a file, to edit it."""
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
