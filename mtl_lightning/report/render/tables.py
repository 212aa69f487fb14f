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


def plain_table(left: Iterable[str], right: Iterable[str] = (), *, unwrapped: int = 0) -> Table:
    """Empty table in the style of all commands: a line below the headings, and no box.

    Args:
        left: Headings of columns of text.
        right: Headings of columns of numbers, after the others.
        unwrapped: Number of columns, from the left, whose text is not wrapped.

    Example:
        >>> from rich.console import Console
        >>> table = plain_table(["task"], ["auc"])
        >>> table.add_row("click", "0.7")
        >>> Console(width=40).print(table)
        task   auc
        ──────────
        click  0.7
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    numbers = list(right)
    for position, heading in enumerate(left):
        vertical: VerticalAlignMethod = "bottom" if numbers else "top"
        table.add_column(heading, vertical=vertical, overflow="fold", no_wrap=position < unwrapped)
    for heading in numbers:
        table.add_column(heading, justify="right", vertical="bottom", overflow="fold")
    return table


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """Table of names in bold and their values, without a line between them.

    Example:
        >>> from rich.console import Console
        >>> Console(width=40).print(facts_table([("rows", "train 10, test 2"), ("", "all of one day")]))
        rows  train 10, test 2
              all of one day
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    return table


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


def spread(ends: Mapping[str, float | None]) -> str:
    """Difference with its interval as text.

    Args:
        ends: ``mean``, ``low`` and ``high``; None if undefined.

    Example:
        >>> spread({"mean": 0.01234, "low": 0.0113, "high": 0.0133}), spread({"mean": None, "low": None, "high": None})
        ('+0.0123 ± 0.0010', 'undefined')
    """
    mean, high = ends["mean"], ends["high"]
    return "undefined" if mean is None or high is None else f"{mean:+.4f} ± {high - mean:.4f}"


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
    shown = [name for name in names if name not in gaps.values()]
    headings = [heading for name in shown for heading in ((name, gaps[name], "gap") if name in gaps else (name,))]
    # Names are longer than values: one word per line fits the table to a terminal of 80 columns.
    table = plain_table(["task"], [heading.replace("_", "\n") for heading in headings], unwrapped=1)
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
    table = facts_table(facts.items())
    table.add_row("rows", ", ".join(f"{split} {count:,}" for split, count in rows.items()))
    for i, (name, kind, known, mean) in enumerate(tasks):
        table.add_row("tasks" if i == 0 else "", f"{name} ({kind}): known {known}, mean label {mean}")
    table.add_row("parameters", ", ".join(f"{part} {count:,}" for part, count in parameters.items()))
    return table
