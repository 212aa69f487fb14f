"""Results as tables for the terminal: tasks down, metrics across."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table

REFERENCES = {"expected_auc": "oracle_auc"}
"""Metric → metric that no model can beat; their difference is shown beside them."""


def by_task(results: Mapping[str, float], split: str) -> dict[str, dict[str, float]]:
    """Results ``{"test/click/auc": …}`` of one split by task and metric.

    Example:
        >>> by_task({"test/click/auc": 0.7, "test/score": 0.7, "validation/click/auc": 0.6}, "test")
        {'click': {'auc': 0.7}}
    """
    found: dict[str, dict[str, float]] = {}
    for name, value in results.items():
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == split:
            found.setdefault(parts[1], {})[parts[2]] = float(value)
    return found


def number(value: float | None) -> str:
    """A metric's value for a table cell.

    Example:
        >>> number(0.71234), number(12.3456), number(123456.0), number(float("nan")), number(None)
        ('0.7123', '12.35', '123,456', 'undefined', '')
    """
    if value is None:
        return ""
    if math.isnan(value):
        return "undefined"
    size = abs(value)
    return f"{value:,.0f}" if size >= 10_000 else f"{value:.2f}" if size >= 10 else f"{value:.4f}"


def metrics_table(results: Mapping[str, float], split: str, title: str) -> Table:
    """Tasks × metrics of one split, the score beneath.

    Args:
        results: Logged values by full name.
        split: ``validation`` or ``test``.
        title: Heading.

    Example:
        >>> table = metrics_table({"test/click/auc": 0.7, "test/view/mae": 3.0, "test/score": 0.7}, "test", "Test")
        >>> [column.header for column in table.columns]
        ['task', 'auc', 'mae']
    """
    tasks = by_task(results, split)
    columns: dict[str, None] = {}
    for metrics in tasks.values():
        for name in metrics:
            columns[name] = None
    gaps = {name: best for name, best in REFERENCES.items() if name in columns and best in columns}
    names = [name for name in columns if name not in gaps.values()]
    score = results.get(f"{split}/score")
    caption = None if score is None else f"score {number(float(score))}"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("task", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
        if name in gaps:
            table.add_column(gaps[name], justify="right")
            table.add_column("gap", justify="right")
    for task, metrics in tasks.items():
        row: list[str] = [task]
        for name in names:
            row.append(number(metrics.get(name)))
            if name in gaps:
                best = metrics.get(gaps[name])
                value = metrics.get(name)
                row += [number(best), "" if best is None or value is None else number(best - value)]
        table.add_row(*row)
    return table


def header_table(
    *,
    rows: Mapping[str, int],
    tasks: Sequence[Sequence[str]],
    parameters: Mapping[str, int],
    facts: Mapping[str, str],
) -> Table:
    """What a run is about to do.

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
