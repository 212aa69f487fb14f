"""Header of a run: its components, data and size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from mtl_lightning.config import Config
from mtl_lightning.plugins import registry
from mtl_lightning.report.render.tables import header_table, number
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.sharded import table_size


def header(config: Config, recipe: str, prepared: Any, module: MultiTaskModule, path: Path) -> Table:
    """Header of a run for the terminal.

    Args:
        config: The configuration.
        recipe: Name of the recipe.
        prepared: Prepared data.
        module: The module.
        path: The run directory.
    """
    chosen = f"{config.source.name} → {config.encoder.name} → {config.architecture.name} → {config.weighter.name}"
    return header_table(
        rows={split: len(store) for split, store in prepared.stores.items()},
        tasks=list(task_lines(prepared)),
        parameters=parameters(module),
        facts={
            "recipe": f"{recipe}: {chosen}",
            "plugins": ", ".join(f"{name} {version}" for name, version in registry().versions().items()),
            **request_facts(prepared, module),
            "run": str(path),
        },
    )


def request_facts(prepared: Any, module: MultiTaskModule) -> dict[str, str]:
    """Number of training requests, and what is constant within one; empty without requests."""
    constant = [field for field in prepared.schema.fields if field.per_request]
    if not constant:
        return {}
    encoder, names = module.network.encoder, ", ".join(field.name for field in constant)
    read = [
        field.name for field in constant if field.kind in ("sequence", "history") and not encoder.encodes_once(field)
    ]
    per_row = f"; read anew for each row: {', '.join(read)}" if read else ""
    count = prepared.summary["request"]["requests"]["train"]
    return {"requests": f"{count} for training; constant within one: {names}{per_row}"}


def task_lines(prepared: Any) -> list[tuple[str, str, str, str]]:
    """Name, kind, share of known labels and mean known label of each task in the training split."""
    # Counted while preparing: reading all labels would map the whole Store.
    known, labels = prepared.summary["known"]["train"], prepared.summary["label"]["train"]
    rows = max(len(prepared.stores["train"]), 1)
    return [
        (
            task.name,
            task.kind,
            f"{known[task.name] / rows:.2%}",
            "undefined" if labels[task.name] is None else number(labels[task.name]),
        )
        for task in prepared.schema.tasks
    ]


def parameters(module: MultiTaskModule) -> Mapping[str, int]:
    """Number of parameters in embedding tables and elsewhere."""
    encoder = module.network.encoder
    tables = {id(table) for table in encoder.table_parameters()}
    dense = sum(p.numel() for p in module.parameters() if id(p) not in tables)
    return {"tables": table_size(encoder), "dense": dense}
