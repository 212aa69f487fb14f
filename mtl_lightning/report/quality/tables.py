"""The quality of a log on the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from mtl_lightning.report.quality.page import missing, related, sampled, vector_rows

BARS = "▁▂▃▄▅▆▇█"
COLORS = {"serious": "bold red", "warning": "yellow", "info": "blue"}


def quality_tables(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Rows, columns, labels (by day, too), features and findings of :func:`~mtl_lightning.data.quality.look.look`."""
    rows = Table("split", "rows")
    for split, count in found["rows"].items():
        rows.add_row(split, f"{count:,}")
    yield rows
    yield _columns(found)
    yield _labels(found)
    if found["days"]:
        yield _days(found["days"])
    if found["pairs"]:
        yield _pairs(found)
    if found["features"]:
        yield _features(found)
        if any("vector" in facts for facts in found["features"].values()):
            table = Table("vector", "split", "missing", "mean norm", "deviation")
            for row in vector_rows(found["features"]):
                table.add_row(*map(escape, row))
            yield table
        yield escape(sampled(found))
    yield _findings(found)


def _columns(found: Mapping[str, Any]) -> Table:
    table = Table("column", "type", "nulls", "distinct", "role")
    for name, column in found["columns"].items():
        distinct = f"{column['distinct']:,}" if column["distinct"] is not None else "not counted"
        table.add_row(
            escape(name),
            escape(column["type"]),
            missing(column, found["rows"]),
            distinct,
            escape(found["roles"].get(name, "")),
        )
    return table


def _labels(found: Mapping[str, Any]) -> Table:
    table = Table("task", "split", "known labels", "mean")
    for task, splits in found["labels"].items():
        for split, label in splits.items():
            mean = f"{label['mean']:.4f}" if label["mean"] is not None else ""
            table.add_row(escape(task), split, f"{label['known']:,}", mean)
    return table


def _days(days: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    table = Table("task", "first day", "last day", "lowest mean", "highest mean", "from day to day")
    for task, points in days.items():
        means = [point["mean"] for point in points]
        first, last = points[0]["day"], points[-1]["day"]
        table.add_row(escape(task), first, last, f"{min(means):.4g}", f"{max(means):.4g}", bars(points))
    return table


def bars(points: Sequence[Mapping[str, Any]], most: int = 60) -> str:
    """Means as bars between the lowest and the highest, of stretches of days where there are more than ``most``.

    Args:
        points: Days in order, each with ``known`` labels and their ``mean``.
        most: Most bars.

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


def _pairs(found: Mapping[str, Any]) -> Table:
    table = Table("tasks", "rows with both known", "both", "only the first", "only the second", "correlation")
    for pair in found["pairs"]:
        counts = ["" if pair[key] is None else f"{pair[key]:,}" for key in ("both", "first", "second")]
        table.add_row(escape(", ".join(pair["tasks"])), f"{pair['rows']:,}", *counts, escape(related(pair)))
    return table


def _features(found: Mapping[str, Any]) -> Table:
    splits = [name for name in found["sample"] if name != "train"]
    headings = [f"{what} {split}" for what in ("unknown in", "PSI to") for split in splits]
    table = Table("feature", *headings, "tells most of", "AUC")
    for name, facts in found["features"].items():
        unknown, psi = facts["out_of_vocabulary"], facts["psi"]
        cells = [f"{unknown[split]:.2%}" if split in unknown else "" for split in splits]
        cells += [f"{psi[split]:.3f}" if split in psi else "" for split in splits]
        task, value = max(facts["alone"].items(), key=lambda one: one[1], default=("", None))
        table.add_row(escape(name), *cells, escape(task), "" if value is None else f"{value:.3f}")
    return table


def _findings(found: Mapping[str, Any]) -> RenderableType:
    if not found["findings"]:
        return "Nothing was found."
    table = Table("level", "finding", "reason")
    for one in found["findings"]:
        level = f"{one['level']}, accepted" if one["accepted"] else one["level"]
        reason = escape(one["reason"]) + (f"\n[dim]{escape(one['hint'])}[/dim]" if one["hint"] else "")
        table.add_row(f"[{COLORS[one['level']]}]{level}[/]", escape(one["name"]), reason)
    return table
