"""The quality of a log as tables on the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from mtl_lightning.report.quality.page import (
    COLUMNS,
    HISTORIES,
    column_rows,
    history_rows,
    related,
    sampled,
    vector_rows,
)
from mtl_lightning.report.render.tables import plain_table

BARS = "▁▂▃▄▅▆▇█"
COLORS = {"serious": "bold red", "warning": "yellow", "info": "blue"}


def quality_tables(quality: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield rows, columns, labels, rates by day, features and findings of ``inspect_log``."""
    yield _table(("split", "rows"), [[split, f"{count:,}"] for split, count in quality["rows"].items()])
    yield _table(COLUMNS, column_rows(quality))
    yield _labels(quality)
    if quality["days"]:
        yield _days(quality["days"])
    if quality["pairs"]:
        yield _pairs(quality)
    if quality["features"]:
        yield _features(quality)
        if any("vector" in facts for facts in quality["features"].values()):
            yield _table(("vector", "split", "missing", "mean norm", "deviation"), vector_rows(quality["features"]))
        if quality["histories"]:
            yield _table(HISTORIES, history_rows(quality["histories"]))
        yield escape(sampled(quality))
    yield _findings(quality)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = plain_table(headings)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _labels(quality: Mapping[str, Any]) -> Table:
    table = plain_table(["task", "split"], ["known labels", "mean"])
    for task, splits in quality["labels"].items():
        for split, label in splits.items():
            mean = f"{label['mean']:.4f}" if label["mean"] is not None else ""
            table.add_row(escape(task), split, f"{label['known']:,}", mean)
    return table


def _days(days: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    table = plain_table(["task", "first day", "last day", "lowest mean", "highest mean", "mean by day"])
    for task, points in days.items():
        means = [point["mean"] for point in points]
        first, last = points[0]["day"], points[-1]["day"]
        table.add_row(escape(task), first, last, f"{min(means):.4g}", f"{max(means):.4g}", bars(points))
    return table


def bars(points: Sequence[Mapping[str, Any]], most: int = 60) -> str:
    """Means as bars between the lowest and the highest; days are merged if there are more than ``most``.

    Args:
        points: Days in order, each with ``known`` labels and their ``mean``.
        most: Largest number of bars.

    Example:
        >>> bars([{"known": 1, "mean": mean} for mean in (0.1, 0.3, 0.2)])
        '▁█▅'
    """
    width = -(-len(points) // most)
    means = []
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        known = sum(point["known"] for point in stretch)
        means.append(sum(point["known"] * point["mean"] for point in stretch) / known)
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def _pairs(quality: Mapping[str, Any]) -> Table:
    table = plain_table(["tasks"], ["rows with both known", "both", "first only", "second only", "correlation"])
    for pair in quality["pairs"]:
        counts = ["" if pair[key] is None else f"{pair[key]:,}" for key in ("both", "first", "second")]
        table.add_row(escape(", ".join(pair["tasks"])), f"{pair['rows']:,}", *counts, escape(related(pair)))
    return table


def _features(quality: Mapping[str, Any]) -> Table:
    splits = [name for name in quality["sample"] if name != "train"]
    headings = [f"{what} {split}" for what in ("unknown in", "PSI to") for split in splits]
    table = plain_table(["feature"], [*headings, "best predicts", "AUC"])
    for name, facts in quality["features"].items():
        unknown, psi = facts["out_of_vocabulary"], facts["psi"]
        cells = [f"{unknown[split]:.2%}" if split in unknown else "" for split in splits]
        cells += [f"{psi[split]:.3f}" if split in psi else "" for split in splits]
        task, value = max(facts["alone"].items(), key=lambda pair: pair[1], default=("", None))
        table.add_row(escape(name), *cells, escape(task), "" if value is None else f"{value:.3f}")
    return table


def _findings(quality: Mapping[str, Any]) -> RenderableType:
    if not quality["findings"]:
        return "No findings."
    table = plain_table(["level", "finding", "reason"])
    for finding in quality["findings"]:
        level = f"{finding['level']}, accepted" if finding["accepted"] else finding["level"]
        reason = escape(finding["reason"]) + (f"\n[dim]{escape(finding['hint'])}[/dim]" if finding["hint"] else "")
        table.add_row(f"[{COLORS[finding['level']]}]{level}[/]", escape(finding["name"]), reason)
    return table
