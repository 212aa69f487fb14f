"""The command ``validate``: check a recipe, and summarise it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from mtl_lightning.cli.json_output import notes_on_stderr, print_json
from mtl_lightning.config import Composed, Config, compose, read_arguments, validate
from mtl_lightning.errors import ConfigError
from mtl_lightning.printable import Console
from mtl_lightning.report.render.tables import facts_table
from mtl_lightning.runs.directory import RunDirectory


def composed(command: str, pairs: Sequence[str]) -> Composed:
    """Compose the recipe of a command that takes ``recipe=`` and settings; notes go to stderr.

    Raises:
        MtlError: If the recipe is not given or can't be composed.
    """
    refused = {"resume": "the recipe of a run is recipe=<run directory>/config.yaml"}
    arguments = read_arguments(command, pairs, optional=["recipe"], settings="all", refused=refused)
    recipe = compose(arguments.own.get("recipe"), arguments.settings)
    for note in recipe.notes:
        Console(stderr=True, highlight=False, emoji=False).print(escape(note), style="yellow", soft_wrap=True)
    return recipe


def validate_recipe(pairs: Sequence[str], as_json: bool) -> None:
    """Check a recipe with the changes of the command line, and print a summary.

    Raises:
        MtlError: If anything is wrong.
    """
    recipe = composed("validate", pairs)
    try:
        with notes_on_stderr(as_json):
            config = validate(recipe.plain)
        if config.run.init_from:
            RunDirectory.open(config.run.init_from)  # raises an error if it is not a run directory
    except ConfigError as error:
        if as_json:
            print_json({"recipe": recipe.recipe, "ok": False, "problems": [asdict(item) for item in error.problems]})
        raise
    if as_json:
        print_json({"recipe": recipe.recipe, "ok": True, "problems": [], **_record(config)})
        return
    console = Console(highlight=False, emoji=False)
    console.print(_summary(config))
    console.print(f"[bold green]ok[/bold green] {escape(recipe.recipe)}", soft_wrap=True)


def _record(config: Config) -> dict[str, Any]:
    """The components of a configuration, as plain containers."""
    return {
        "source": config.source.name,
        "split": {"by": config.split.by, "column": config.split.column},
        "features": {name: feature.kind for name, feature in config.features.items()},
        "tasks": {
            task.name: {
                "kind": task.kind,
                "label": task.label,
                "parents": list(task.parents),
                "head": config.heads[task.name].name,
                "loss": config.losses[task.name].name,
                "metrics": [metric.name for metric in config.metrics[task.name]],
            }
            for task in config.tasks
        },
        **{kind: getattr(config, kind).name for kind in ("encoder", "architecture", "weighter")},
        "optimizer": {"name": config.optimizer.name, "tables": config.optimizer.tables},
    }


def _summary(config: Config) -> Table:
    kinds: dict[str, int] = {}
    for feature in config.features.values():
        kinds[feature.kind] = kinds.get(feature.kind, 0) + 1
    split = f"by {config.split.by}" + (f" ({config.split.column})" if config.split.column else "")
    rows = [("source", config.source.name), ("split", split)]
    rows.append(("features", ", ".join(f"{count} {kind}" for kind, count in kinds.items())))
    for task in config.tasks:
        name = task.name
        parts = [task.kind, task.label, f"head {config.heads[name].name}", f"loss {config.losses[name].name}"]
        parts += [f"after {', '.join(task.parents)}"] if task.parents else []
        parts += ["metrics " + ", ".join(metric.name for metric in config.metrics[name])]
        rows.append((f"task {name}", "; ".join(parts)))
    rows += [(kind, getattr(config, kind).name) for kind in ("encoder", "architecture", "weighter")]
    rows.append(("optimizer", f"{config.optimizer.name}, tables {config.optimizer.tables}"))
    return facts_table((escape(name), escape(value)) for name, value in rows)
