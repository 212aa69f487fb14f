"""The commands ``data fetch`` and ``data inspect``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from mtl_lightning.cli.json_output import notes_on_stderr, print_json
from mtl_lightning.cli.validate import composed
from mtl_lightning.config import validate
from mtl_lightning.errors import ConfigError, MtlError
from mtl_lightning.printable import Console

if TYPE_CHECKING:
    from mtl_lightning.config import Config
    from mtl_lightning.interfaces import RawSchema


def fetch_data(name: str, settings: Sequence[str], as_json: bool) -> None:
    """Fetch a public data set into the cache, and print its path.

    Raises:
        MtlError: If the source can't be fetched, or a setting is wrong.
    """
    from mtl_lightning.config.draft import Draft
    from mtl_lightning.config.pairs import read_overrides

    draft = Draft()
    component = draft.component("source", "source", {"name": name, **read_overrides(settings)})
    if component is None or draft.problems:
        raise ConfigError(draft.problems)
    source = draft.classes["source"](**component.options)
    fetch = getattr(source, "fetch", None)
    if fetch is None:
        raise MtlError(f"the source {name!r} has nothing to fetch", "it reads local files, or generates its rows")
    with notes_on_stderr(as_json):
        path = fetch()
    if as_json:
        print_json({"source": name, "path": str(path)})
    else:
        Console(highlight=False, emoji=False).print(escape(str(path)), soft_wrap=True)


def inspect_data(pairs: Sequence[str], as_json: bool, html: Path | None) -> None:
    """Print the contents of a recipe's log and possible problems.

    Raises:
        MtlError: If the recipe is wrong, or its log or the page can't be read or written.
    """
    recipe = composed("data inspect", pairs)
    config = validate(recipe.plain)

    from mtl_lightning.build import build_data
    from mtl_lightning.data.quality.drift import LARGE, MODERATE
    from mtl_lightning.data.quality.inspection import inspect_log
    from mtl_lightning.report.quality.page import quality_page
    from mtl_lightning.report.quality.tables import quality_tables

    with notes_on_stderr(as_json):
        data = build_data(config)
        content = {**inspect_log(data, config.data.accept), "roles": _roles(config, data.source.schema())}
    if html is not None:
        try:
            html.write_text(quality_page(content, f"Data of {recipe.recipe}", (MODERATE, LARGE)), encoding="utf-8")
        except OSError as error:
            raise MtlError(f"{html} can't be written: {error.strerror}") from error
    if as_json:
        print_json(content)
        return
    console = Console(highlight=False, emoji=False)
    for part in quality_tables(content):
        console.print(part)
    if html is not None:
        console.print(escape(f"page {html}"), soft_wrap=True)


def _roles(config: "Config", raw: "RawSchema") -> dict[str, str]:
    """Uses of each column."""
    from mtl_lightning.data.expressions.expression import Expression

    roles: dict[str, list[str]] = {}
    for name, feature in config.features.items():
        for column in feature.columns(name):
            roles.setdefault(column, []).append(f"{feature.kind} {name}" if name != column else feature.kind)
    for task in config.tasks:
        for column in Expression(task.label).columns:
            roles.setdefault(column, []).append(f"label of {task.name}")
    for column in config.split.columns:
        roles.setdefault(column, []).append(f"split by {config.split.by}")
    for column in raw.after_event:
        roles.setdefault(column, []).append("known after the event")
    for column in raw.oracle:
        roles.setdefault(column, []).append("true expectation")
    return {column: ", ".join(parts) for column, parts in roles.items() if column in raw.columns}
