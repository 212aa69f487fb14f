"""Tables for the terminal: results by task and metric, and the header of a run."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.align import VerticalAlignMethod
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

REFERENCES = {"expected_auc": "oracle_auc"}
"""Metric → its upper bound for any model; tables also show the difference."""


def by_task(results: Mapping[str, float], split: str) -> dict[str, dict[str, float]]:
    """Results ``{"test/click/auc": …}`` of a split by task and metric.

    Example:
        >>> by_task({"test/click/auc": 0.7, "test/score": 0.7, "validation/click/auc": 0.6}, "test")
        {'click': {'auc': 0.7}}
        >>> by_task({"test/click/mtl-lightning/auc": 0.7}, "test")
        {'click': {'mtl-lightning/auc': 0.7}}
    """
    values: dict[str, dict[str, float]] = {}
    for name, value in results.items():
        parts = name.split("/", 2)  # a metric's name may contain a slash: mtl-lightning/auc
        if len(parts) == 3 and parts[0] == split:
            values.setdefault(parts[1], {})[parts[2]] = float(value)
    return values


def number(value: float) -> str:
    """Value of a metric as text.

    Example:
        >>> number(0.71234), number(12.3456), number(123456.0), number(float("nan"))
        ('0.7123', '12.35', '123,456', 'undefined')
    """
    if math.isnan(value):
        return "undefined"
    size = abs(value)
    return f"{value:,.0f}" if size >= 10_000 else f"{value:.2f}" if size >= 10 else f"{value:.4f}"


def plain_table(
    left: Sequence[str], right: Iterable[str] = (), *, no_wrap: bool = False, vertical: VerticalAlignMethod = "bottom"
) -> Table:
    """An empty table with a line below its head.

    Args:
        left: Headings of the columns that are aligned to the left.
        right: Headings of the columns that are aligned to the right, at the bottom.
        no_wrap: Whether the left columns keep their width.
        vertical: Alignment of the left columns.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in left:
        table.add_column(name, no_wrap=no_wrap, vertical=vertical)
    for name in right:
        table.add_column(name, justify="right", vertical="bottom")
    return table


def metrics_table(
    results: Mapping[str, float], split: str, title: str, spaces: Mapping[str, str] | None = None
) -> Group:
    """Table of tasks × metrics of a split, with the score below; tasks with different metrics have separate tables.

    Args:
        results: Logged values by full name.
        split: ``validation`` or ``test``.
        title: Heading.
        spaces: Per task, the rows on which its metrics are computed; printed below.

    Example:
        >>> from rich.console import Console
        >>> results = {"test/click/auc": 0.7, "test/view/mae": 3.0, "test/score": 0.7}
        >>> Console(width=40).print(metrics_table(results, "test", "Test"))
        Test
        task      auc
        ─────────────
        click  0.7000
        task     mae
        ────────────
        view  3.0000
        score 0.7000
    """
    tasks_by_metrics: dict[tuple[str, ...], dict[str, dict[str, float]]] = {}
    for task, metrics in by_task(results, split).items():
        tasks_by_metrics.setdefault(tuple(metrics), {})[task] = metrics
    parts: list[RenderableType] = [Text(title, style="bold")]
    parts += [_table(names, tasks) for names, tasks in tasks_by_metrics.items()]
    if (score := results.get(f"{split}/score")) is not None:
        parts.append(Text(f"score {number(float(score))}"))
    parts += [Text(f"space of {task}: {space}", style="dim") for task, space in (spaces or {}).items()]
    return Group(*parts)


def _table(names: Sequence[str], tasks: Mapping[str, Mapping[str, float]]) -> Table:
    """Table of tasks that have the same metrics."""
    gaps = {name: best for name, best in REFERENCES.items() if name in names and best in names}
    table = plain_table(["task"], no_wrap=True, vertical="top")
    shown = [name for name in names if name not in gaps.values()]
    for name in shown:
        for heading in (name, gaps[name], "gap") if name in gaps else (name,):
            # Names are longer than values: one word per line fits the table to a terminal of 80 columns.
            table.add_column(heading.replace("_", "\n"), justify="right", vertical="bottom")
    for task, metrics in tasks.items():
        row = [task]
        for name in shown:
            row.append(number(metrics[name]))
            if name in gaps:
                best = metrics[gaps[name]]
                row += [number(best), number(best - metrics[name])]
        table.add_row(*row)
    return table


def header_table(
    *,
    rows: Mapping[str, int],
    tasks: Sequence[Sequence[str]],
    parameters: Mapping[str, int],
    facts: Mapping[str, str],
) -> Table:
    """Header of a run: rows, tasks, parameters and further facts.

    Args:
        rows: Rows per split.
        tasks: Name, kind, share of known labels and mean label of each task.
        parameters: Number of parameters by part.
        facts: Further lines (recipe, plugins, run directory).

    Example:
        >>> header_table(rows={"train": 10}, tasks=[("click", "binary", "100%", "0.05")],
        ...              parameters={"tables": 5}, facts={"recipe": "ads"}).row_count
        4
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    table.add_row("rows", ", ".join(f"{split} {count:,}" for split, count in rows.items()))
    for i, (name, kind, known, mean) in enumerate(tasks):
        table.add_row("tasks" if i == 0 else "", f"{name} ({kind}): known {known}, mean label {mean}")
    table.add_row("parameters", ", ".join(f"{part} {count:,}" for part, count in parameters.items()))
    return table
