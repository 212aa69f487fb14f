"""The closer look after a test as one HTML page, with the reliability plots of its binary tasks."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mtl_lightning.report.evaluation.reliability import STYLE, reliability_plot
from mtl_lightning.report.render.html import document, table
from mtl_lightning.report.render.tables import number

PAGE = "evaluation.html"
TABLES = """
table { display: block; overflow-x: auto; } th, td { white-space: nowrap; }
"""
DECISIONS = ("precision", "recall", "f1", "accuracy")


def evaluation_page(summary: Mapping[str, Any], title: str) -> str:
    """The page.

    Args:
        summary: What the closer look found, as ``metrics.json`` has it (None for what isn't defined).
        title: Name of the run.

    Example:
        >>> curve = {"weight": [5.0], "predicted": [0.2], "observed": [0.1]}
        >>> split = {"rows": 5, "of": 5, "metrics": {"click/auc": None}, "reliability": {"click": curve}}
        >>> spaces = {"click": "entire"}
        >>> found = {"spaces": spaces, "splits": {"test": split}, "thresholds": {}, "slices": {}}
        >>> page = evaluation_page(found, "ads")
        >>> page.count("<svg"), "undefined" in page
        (1, True)
    """
    splits = summary["splits"]
    rows = []
    for name in next(iter(splits.values()))["metrics"]:
        task, _, metric = name.partition("/")
        if metric:
            values = [found["metrics"][name] for found in splits.values()]
            rows.append([f"{task} {metric}", summary["spaces"][task], *map(_number, values), change(values)])
    counts = ", ".join(f"{split} {found['rows']:,} of {found['of']:,} rows" for split, found in splits.items())
    changes = " − ".join((list(splits)[-1], next(iter(splits))))
    parts = [f"<p>{counts}.</p>", table(["metric", "space", *splits, changes], rows)]
    if summary["thresholds"]:
        parts += ["<h2>Decisions at the threshold of the best F1 on validation</h2>", _decisions(summary["thresholds"])]
    for split, slices in summary["slices"].items():
        for name, found in slices.items():
            parts += [f"<h2>{escape(f'{split} by {name}')}</h2>", _slice(found)]
    tasks = list(dict.fromkeys(task for found in splits.values() for task in found["reliability"]))
    if tasks:
        parts.append("<h2>Reliability</h2><p>Observed rates over predicted ones, in groups of equally many rows.</p>")
    for task in tasks:
        parts.append(reliability_plot(task, {split: found["reliability"][task] for split, found in splits.items()}))
    return document(f"Evaluation of {title}", "\n".join(parts), STYLE + TABLES)


def _decisions(thresholds: Mapping[str, Any]) -> str:
    rows = [
        [task, split, _number(found["threshold"]), *(_number(values[name]) for name in DECISIONS)]
        for task, found in thresholds.items()
        for split, values in found.items()
        if split != "threshold"
    ]
    return table(["task", "split", "threshold", *DECISIONS], rows)


def change(values: Sequence[float | None]) -> str:
    """What a metric differs by from the first split to the last one.

    Example:
        >>> change([0.8, 0.75, 0.7]), change([None, 0.7]), change([0.7])
        ('-0.1000', '–', '–')
    """
    first, last = values[0], values[-1]
    return "–" if first is None or last is None or len(values) < 2 else f"{last - first:+.4f}"


def first_metrics(metrics: Iterable[str]) -> dict[str, str]:
    """Each task's first metric of those named task/metric.

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


def _slice(found: Mapping[str, Any]) -> str:
    """A row per part: known labels and first metric of each task. Parts without any label are left out."""
    tasks = first_metrics(next(iter(found.values()))["metrics"]) if found else {}
    headings = [heading for task, metric in tasks.items() for heading in (f"{task}: labels", metric)]
    rows = []
    for part, values in found.items():
        if any(values["rows"][task] for task in tasks):
            cells = [part]
            for task, metric in tasks.items():
                labels = values["rows"][task]
                cells += [f"{labels:,}", _number(values["metrics"][f"{task}/{metric}"]) if labels else "–"]
            rows.append(cells)
    return table(["part", *headings], rows)


def _number(value: float | None) -> str:
    return "undefined" if value is None else number(value)
