"""Pages of the site that are made from the package itself: commands, components, the API."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from mtl_lightning.cli.app import build_app
from mtl_lightning.plugins import KINDS, registry

API = {
    "interfaces": "Contracts of components",
    "schema": "Schemas, fields and tasks",
    "batch": "Batches, outputs and targets",
    "hookspecs": "Hooks of plugins",
    "fitting.fit": "Train with one call",
    "data.datamodule": "DataModule",
    "build": "From names to a module",
    "training.step": "The step of a weighter",
    "layers.mlp": "Layers",
    "testing": "Contracts as tests",
    "errors": "Errors",
}
"""Modules with public names, and what to call them."""


def folder_of(kind: str) -> str:
    """Folder of the pages of a kind.

    Example:
        >>> folder_of("loss"), folder_of("head")
        ('losses', 'heads')
    """
    return {"loss": "losses"}.get(kind, f"{kind}s")


def first_sentence(thing: object) -> str:
    """First sentence of a docstring."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def components(exists: set[str]) -> str:
    """A table per kind of component: names, first sentences, links to the pages that exist."""
    lines = [
        "# Every component",
        "",
        "By name, as recipes choose them; `mtl-lightning plugins` adds the components of your plugins.",
    ]
    for kind in KINDS:
        if not any(entry.distribution == "mtl-lightning" for _, entry in registry().entries(kind)):
            continue  # plugins supply all of them
        lines += ["", f"## {folder_of(kind).capitalize()}", "", "| name | what it does |", "|---|---|"]
        for name, entry in registry().entries(kind):
            if entry.distribution != "mtl-lightning":
                continue
            page = "data/features.md" if kind == "feature" else f"{folder_of(kind)}/{entry.name}.md"
            shown = f"[`{entry.name}`]({page})" if page in exists else f"`{entry.name}`"
            text = first_sentence(registry().resolve(kind, name)).replace("|", "\\|")
            lines.append(f"| {shown} | {text} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Every command with its arguments and options, from what ``--help`` prints."""
    lines = ["# Every command", "", "From `mtl-lightning --help`; `python -m mtl_lightning` is the same program."]
    for path, command, context in walk(get_command(build_app()), "mtl-lightning"):
        level = "###" if path.count(" ") > 1 else "##"
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        lines += ["", f"{level} `{path}`", "", (command.help or "").strip()]
        lines += ["", "```text", usage, "```"]
        rows = [line for line in map(row, command.get_params(context)) if line]
        if rows:
            lines += ["", "| argument | what it is | default |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def walk(command: Any, path: str) -> Iterator[tuple[str, Any, typer.Context]]:
    """A command and its subcommands, each under its whole name."""
    context = typer.Context(command, info_name=path)
    yield path, command, context
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        if not inner.hidden:
            yield from walk(inner, f"{path} {name}")


def row(parameter: Any) -> str:
    """A line of the table of arguments; empty for ``--help``."""
    if parameter.name == "help":
        return ""
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    shown = names if parameter.param_type_name == "option" else f"`{parameter.metavar or parameter.name.upper()}`"
    default = parameter.default if isinstance(parameter.default, str | int | float) and parameter.default != "" else ""
    text = (getattr(parameter, "help", "") or "").replace("|", "\\|")
    return f"| {shown} | {text} | {f'`{default}`' if default not in ('', False) else ''} |"


def api() -> dict[str, str]:
    """A page per module with public names, for mkdocstrings."""
    pages = {"api/README.md": "# API\n\n" + "".join(f"- [{title}]({name}.md)\n" for name, title in API.items())}
    return pages | {f"api/{name}.md": f"# {title}\n\n::: mtl_lightning.{name}\n" for name, title in API.items()}
