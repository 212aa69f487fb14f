"""The closer look after a test as one HTML page, with the reliability plots of its binary tasks."""

from collections.abc import Mapping
from typing import Any

from mtl_lightning.report.html import document, table
from mtl_lightning.report.reliability import STYLE, reliability_plot

PAGE = "evaluation.html"
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
        >>> page = evaluation_page({"spaces": spaces, "splits": {"test": split}, "thresholds": {}}, "ads")
        >>> page.count("<svg"), "undefined" in page
        (1, True)
    """
    splits = summary["splits"]
    rows = []
    for name in next(iter(splits.values()))["metrics"]:
        task, _, metric = name.partition("/")
        if metric:
            values = [_number(found["metrics"][name]) for found in splits.values()]
            rows.append([task, summary["spaces"][task], metric, *values])
    counts = ", ".join(f"{split} {found['rows']:,} of {found['of']:,} rows" for split, found in splits.items())
    parts = [f"<p>{counts}.</p>", table(["task", "space", "metric", *splits], rows)]
    if summary["thresholds"]:
        parts += ["<h2>Decisions at the threshold of the best F1 on validation</h2>", _decisions(summary["thresholds"])]
    tasks = list(dict.fromkeys(task for found in splits.values() for task in found["reliability"]))
    if tasks:
        parts.append("<h2>Reliability</h2><p>Observed rates over predicted ones, in groups of equally many rows.</p>")
    for task in tasks:
        parts.append(reliability_plot(task, {split: found["reliability"][task] for split, found in splits.items()}))
    return document(f"Evaluation of {title}", "\n".join(parts), STYLE)


def _decisions(thresholds: Mapping[str, Any]) -> str:
    rows = [
        [task, split, _number(found["threshold"]), *(_number(values[name]) for name in DECISIONS)]
        for task, found in thresholds.items()
        for split, values in found.items()
        if split != "threshold"
    ]
    return table(["task", "split", "threshold", *DECISIONS], rows)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
