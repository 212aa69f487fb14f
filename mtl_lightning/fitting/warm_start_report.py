"""Report of a warm start: what was copied, for the terminal and for the run directory."""

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.preparation.growth import known_sizes
from mtl_lightning.fitting.warm_start import TableState, WarmStart
from mtl_lightning.report.render.tables import plain_table
from mtl_lightning.schema import UNKNOWN
from mtl_lightning.training.module import MultiTaskModule

FILE = "warm_start.json"


def begin(start: WarmStart, module: MultiTaskModule, data: DataModule) -> dict[str, Any]:
    """Copy the weights of the earlier run, and count known and new values.

    Args:
        start: The earlier run.
        module: The module, built for the schema of the data.
        data: The new rows. Their vocabularies extend the vocabularies of the run.

    Returns:
        The content of :data:`FILE`.
    """
    copied = start.copy(module)
    assert data.base is not None
    prepared = data.prepared
    known = known_sizes(prepared.transforms, data.base)
    rows = prepared.summary["rows"]["train"]
    features = {
        name: {
            "kept": before - UNKNOWN - 1,
            "new": prepared.schema.field(name).size - before,
            "rows_with_new": prepared.summary["new"]["train"][name] / rows,
        }
        for name, before in known.items()
    }
    return {
        "run": str(start.run.path.resolve()),
        "weights": start.weights.name,
        "features": features,
        "table_state": TableState(start).available(module),
        "weighter": copied.weighter,
        "fresh": list(copied.fresh),
        "left": list(copied.left),
    }


def warm_table(record: dict[str, Any]) -> Group:
    """The record as a table for the terminal.

    Example:
        >>> from rich.console import Console
        >>> features = {"user": {"kept": 90, "new": 10, "rows_with_new": 0.125}}
        >>> record = {"run": "runs/ads/1", "weights": "best.ckpt", "features": features, "table_state": True,
        ...           "weighter": True, "fresh": [], "left": []}
        >>> Console(width=80).print(warm_table(record))
        Started from runs/ads/1 (best.ckpt)
        feature  kept  new  rows with a new id
        ──────────────────────────────────────
        user       90   10              12.50%
        known rows keep their optimizer state; the weighter's parameters are kept
    """
    table = plain_table(["feature"], ["kept", "new", "rows with a new id"], unwrapped=1)
    for name, counts in record["features"].items():
        table.add_row(name, f"{counts['kept']:,}", f"{counts['new']:,}", f"{counts['rows_with_new']:.2%}")
    title = Text(f"Started from {record['run']} ({record['weights']})", style="bold")
    return Group(title, table, Text("; ".join(_remarks(record))))


def turnover_table(tables: dict[str, dict[str, int]]) -> Table:
    """Ids that came and went, for the terminal.

    Args:
        tables: Result of :func:`~mtl_lightning.data.preparation.growth.turnover`.

    Example:
        >>> from rich.console import Console
        >>> counts = {"ids": 95, "admitted": 10, "expired": 5, "evicted": 0, "waiting": 40}
        >>> Console(width=80).print(turnover_table({"user": counts}))
        feature  ids  admitted  expired  evicted  waiting
        ─────────────────────────────────────────────────
        user      95        10        5        0       40
    """
    table = plain_table(["feature"], list(next(iter(tables.values()))), unwrapped=1)
    for name, counts in tables.items():
        table.add_row(name, *(f"{count:,}" for count in counts.values()))
    return table


def _remarks(record: dict[str, Any]) -> list[str]:
    state = "keep their optimizer state" if record["table_state"] else "start without optimizer state"
    remarks = [f"known rows {state}", f"the weighter's parameters {'are kept' if record['weighter'] else 'start anew'}"]
    if record["fresh"]:
        remarks.append(f"{len(record['fresh'])} weights of new tasks start anew")
    if record["left"]:
        remarks.append(f"{len(record['left'])} weights of tasks that are gone are left out")
    return remarks
