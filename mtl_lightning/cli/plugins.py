"""The command ``plugins``: list and check plugins."""

from dataclasses import asdict
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from mtl_lightning.cli.completion import SUPPLIED
from mtl_lightning.cli.json_output import notes_on_stderr, print_json
from mtl_lightning.errors import PluginError, Problem
from mtl_lightning.plugins import registry
from mtl_lightning.plugins.names import Registry
from mtl_lightning.printable import Console
from mtl_lightning.report.render.tables import plain_table


def list_plugins(kind: str, as_json: bool, check: bool) -> None:
    """Print plugins and the names that they supply.

    Args:
        kind: The only kind of names to print; empty for all.
        as_json: Print one JSON document.
        check: Whether to import every component.

    Raises:
        PluginError: If the kind is unknown.
        Exit: With code 1 if a component can't be imported.
    """
    if kind and kind not in SUPPLIED:
        raise PluginError(f"--kind: no kind is called {kind!r}", "kinds are " + ", ".join(SUPPLIED))
    names = registry()
    with notes_on_stderr(as_json):
        problems = names.check() if check else []
    shown = (kind,) if kind else SUPPLIED
    if as_json:
        print_json(_record(names, shown, problems if check else None))
    else:
        console = Console(emoji=False)
        console.print(_names(names, kind) if kind else _plugins(names))
        for problem in problems:
            console.print(escape(str(problem)), style="red", soft_wrap=True)
        if check and not problems:
            console.print("every component can be imported")
    if problems:
        raise typer.Exit(1)


def _record(names: Registry, kinds: tuple[str, ...], problems: list[Problem] | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "plugins": [asdict(plugin) for plugin in names.plugins],
        "left_out": list(names.left_out),
        "names": {
            kind: [
                {
                    "name": name,
                    "qualified": entry.qualified,
                    "target": entry.target,
                    "plugin": entry.plugin,
                    "distribution": entry.distribution,
                    "version": entry.version,
                }
                for name, entry in names.entries(kind)
            ]
            for kind in kinds
        },
    }
    return record if problems is None else record | {"problems": [asdict(problem) for problem in problems]}


def _plugins(names: Registry) -> Table:
    table = plain_table(["plugin", "distribution", "version", "supplies"])
    for plugin in names.plugins:
        lines = []
        for kind in SUPPLIED:
            owned = [
                escape(name)
                for name, entry in names.entries(kind)
                if (entry.plugin, entry.distribution) == (plugin.name, plugin.distribution)
            ]
            if owned:
                lines.append(f"{kind}: " + ", ".join(owned))
        lines += [hook for hook in plugin.hooks if hook in ("mtl_callbacks", "mtl_commands")]
        if plugin.failure is not None:
            lines.append(f"[red]not used: {plugin.failure.stage}: {escape(plugin.failure.reason)}[/red]")
        table.add_row(escape(plugin.name), escape(plugin.distribution), plugin.version, "\n".join(lines))
    if names.left_out:
        table.caption = "left out by MTL_PLUGINS: " + ", ".join(names.left_out)
    return table


def _names(names: Registry, kind: str) -> Table:
    table = plain_table([kind, "class" if kind != "recipe" else "package", "distribution", "version"])
    for name, entry in names.entries(kind):
        table.add_row(escape(name), escape(entry.target), escape(entry.distribution), entry.version)
    return table
