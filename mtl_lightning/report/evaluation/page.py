"""The detailed evaluation as an HTML page, with reliability plots of binary tasks."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mtl_lightning.report.evaluation.preferences import preference_section
from mtl_lightning.report.evaluation.reliability import STYLE, reliability_plot
from mtl_lightning.report.render.html import document, table
from mtl_lightning.report.render.tables import number

PAGE = "evaluation.html"
TABLES = """
table { display: block; overflow-x: auto; } th, td { white-space: nowrap; }
"""
DECISIONS = ("precision", "recall", "f1", "accuracy")
ABUNDANCE = ("table", "rows", "width", "abundance")
"""Columns of the table of information abundance."""


def evaluation_page(summary: Mapping[str, Any], title: str) -> str:
    """HTML page of a detailed evaluation.

    Args:
        summary: The evaluation as in ``metrics.json``; undefined values are None.
        title: Name of the run.

    Example:
        >>> curve = {"weight": [5.0], "predicted": [0.2], "observed": [0.1]}
        >>> split = {"rows": 5, "of": 5, "metrics": {"click/auc": None}, "reliability": {"click": curve}}
        >>> spaces = {"click": "entire"}
        >>> summary = {"spaces": spaces, "splits": {"test": split}, "thresholds": {}, "slices": {}}
        >>> page = evaluation_page(summary, "ads")
        >>> page.count("<svg"), "undefined" in page
        (1, True)
    """
    return document(f"Evaluation of {title}", evaluation_sections(summary), STYLE + TABLES)


def evaluation_sections(summary: Mapping[str, Any]) -> str:
    """HTML of a detailed evaluation, for a page with the styles of this module.

    Args:
        summary: The evaluation as in ``metrics.json``; undefined values are None.
    """
    splits = summary["splits"]
    rows = []
    for name in next(iter(splits.values()))["metrics"]:
        task, _, metric = name.partition("/")
        if metric:
            values = [facts["metrics"][name] for facts in splits.values()]
            rows.append([f"{task} {metric}", summary["spaces"][task], *map(_number, values), change(values)])
    counts = ", ".join(f"{split} {facts['rows']:,} of {facts['of']:,} rows" for split, facts in splits.items())
    changes = " − ".join((list(splits)[-1], next(iter(splits))))
    parts = [f"<p>{counts}.</p>", table(["metric", "space", *splits, changes], rows)]
    if summary["thresholds"]:
        decisions = table(["task", "split", "threshold", *DECISIONS], decision_rows(summary["thresholds"]))
        parts += ["<h2>Decisions at the threshold of the best F1 on validation</h2>", decisions]
    for split, slices in summary["slices"].items():
        for name, cells in slices.items():
            parts += [f"<h2>{escape(f'{split} by {name}')}</h2>", _slice(cells)]
    if preferences := summary.get("preferences"):
        parts += preference_section(
            preferences, first_metrics(next(iter(preferences.values()))["points"][0]["metrics"])
        )
    if summary.get("tables"):  # records of earlier versions have none
        parts += ["<h2>Directions that embedding tables use</h2>", _abundances(summary["tables"])]
    tasks = list(dict.fromkeys(task for facts in splits.values() for task in facts["reliability"]))
    if tasks:
        parts.append("<h2>Reliability</h2><p>Observed against predicted rates, in groups of equally many rows.</p>")
    for task in tasks:
        parts.append(reliability_plot(task, {split: facts["reliability"][task] for split, facts in splits.items()}))
    return "\n".join(parts)


def decision_rows(thresholds: Mapping[str, Any]) -> list[list[str]]:
    """Task, split, threshold and measures of decisions, by task and split."""
    return [
        [task, split, _number(by_split["threshold"]), *(_number(values[name]) for name in DECISIONS)]
        for task, by_split in thresholds.items()
        for split, values in by_split.items()
        if split != "threshold"
    ]


def _abundances(tables: Iterable[Mapping[str, Any]]) -> str:
    return table(list(ABUNDANCE), [[name, *values] for name, *values in abundance_rows(tables)])


def abundance_rows(tables: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Cells of the table of information abundance: vocabulary, rows, width, abundance.

    Example:
        >>> abundance_rows([{"table": "user", "copy": 0, "rows": 1200, "width": 16, "abundance": 3.25}])
        [['user', '1,200', '16', '3.2500']]
    """
    records = list(tables)
    several = any(record["copy"] for record in records)
    return [
        [
            f"{record['table']} (copy {record['copy'] + 1})" if several else record["table"],
            f"{record['rows']:,}",
            str(record["width"]),
            _number(record["abundance"]),
        ]
        for record in records
    ]


def change(values: Sequence[float | None]) -> str:
    """Difference of a metric between the last split and the first.

    Example:
        >>> change([0.8, 0.75, 0.7]), change([None, 0.7]), change([0.7])
        ('-0.1000', '–', '–')
    """
    first, last = values[0], values[-1]
    return "–" if first is None or last is None or len(values) < 2 else f"{last - first:+.4f}"


def first_metrics(metrics: Iterable[str]) -> dict[str, str]:
    """First metric of each task, from names ``task/metric``.

    Example:
        >>> first_metrics(["click/auc", "click/ece", "dwell/r2", "score"])
        {'click': 'auc', 'dwell': 'r2'}
    """
    first: dict[str, str] = {}
    for name in metrics:
        task, _, metric = name.partition("/")
        if metric:
            first.setdefault(task, metric)
    return first


def _slice(by_part: Mapping[str, Any]) -> str:
    """Table with a row per part: known labels and first metric of each task. Parts without labels are left out."""
    tasks = first_metrics(next(iter(by_part.values()))["metrics"]) if by_part else {}
    headings = [heading for task, metric in tasks.items() for heading in (f"{task}: labels", metric)]
    rows = []
    for part, values in by_part.items():
        if any(values["rows"][task] for task in tasks):
            cells = [part]
            for task, metric in tasks.items():
                labels = values["rows"][task]
                cells += [f"{labels:,}", _number(values["metrics"][f"{task}/{metric}"]) if labels else "–"]
            rows.append(cells)
    return table(["part", *headings], rows)


def _number(value: float | None) -> str:
    return "undefined" if value is None else number(value)
