"""The quality of a log as an HTML page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mtl_lightning.report.quality.plots import days, drift
from mtl_lightning.report.render.html import document, table

STYLE = """
.finding { border-left: 5px solid #999; padding: .4rem 1rem; margin: .5rem 0; background: rgba(128, 140, 160, .14); }
.finding.serious { border-color: #b3261e; background: rgba(207, 74, 65, .14); }
.finding.warning { border-color: #d98e04; background: rgba(217, 142, 4, .14); }
.finding.info { border-color: #3a6fc4; } .finding.accepted { opacity: .6; }
.finding code { font-weight: bold; } .finding small { opacity: .75; display: block; }
.tiles { display: flex; gap: 1rem; flex-wrap: wrap; } .tile b { font-size: 1.5rem; display: block; }
.tile { background: rgba(128, 140, 160, .14); padding: .5rem 1.25rem; border-radius: 6px; } .wide { overflow-x: auto; }
td.heat { text-align: center; } h2 { margin-top: 2.5rem; border-bottom: 2px solid rgba(128, 140, 160, .25); }
line.axis { stroke: #ccc; stroke-width: 1; } line.threshold { stroke: #888; stroke-dasharray: 4 3; stroke-width: 1; }
rect.count { fill: #e4eaf3; } polyline.rate { fill: none; stroke: #3f78c9; stroke-width: 2; }
circle.rate { fill: #3f78c9; } rect.bar.level1 { fill: #e2a93b; } rect.bar.level2 { fill: #c8463c; }
"""
FORMS = (".2%", ".4g", ".4g")
"""Formats of the facts about a vector: share missing, mean norm, deviation."""
COLUMNS = ("column", "type", "nulls", "distinct", "role")
"""Headings of :func:`column_rows`."""
HISTORIES = ("history", "split", "empty", "median length", "90%", "longest", "full", "age of the latest event")
"""Headings of :func:`history_rows`."""
SHOWN = 15
"""Largest number of features in a drift plot."""


def quality_page(quality: Mapping[str, Any], title: str, thresholds: Sequence[float]) -> str:
    """HTML page of a log's quality.

    Args:
        quality: Result of :func:`~mtl_lightning.data.quality.inspection.inspect_log`.
        title: Heading of the page.
        thresholds: Ascending thresholds of PSI.
    """
    parts = [_tiles(quality), "<h2>Findings</h2>", *map(_finding, quality["findings"])]
    if not quality["findings"]:
        parts.append("<p>No findings.</p>")
    columns = f'<div class="wide">{table(COLUMNS, column_rows(quality))}</div>'
    parts += ["<h2>Columns</h2>", columns, "<h2>Labels</h2>", _labels(quality)]
    parts += [days(task, points) for task, points in quality["days"].items()]
    if quality["pairs"]:
        parts += [
            "<h3>Pairs of labels</h3><p>Training rows on which both labels are known.</p>",
            _pairs(quality["pairs"]),
        ]
    if quality["features"]:
        parts += ["<h2>Features</h2>", f"<p>{escape(sampled(quality))}</p>"]
        parts += ["<h3>Single features as predictors of a label</h3>", _alone(quality["features"])]
        parts += ["<h3>Drift</h3>", *_drift(quality["features"], thresholds)]
        if vectors := vector_rows(quality["features"]):
            parts += ["<h3>Vectors</h3>", table(["vector", "split", "missing", "mean norm", "deviation"], vectors)]
        if quality["histories"]:
            parts += ["<h3>Histories</h3>", table(HISTORIES, history_rows(quality["histories"]))]
        parts += ["<h3>Out of vocabulary</h3>", _unknown(quality["features"])]
    return document(title, "\n".join(parts), STYLE)


def sampled(quality: Mapping[str, Any]) -> str:
    """Sentence that names the rows on which the values are computed.

    Example:
        >>> sampled({"sample": {"train": {"rows": 9, "taken": 9}}})
        'Leaks, drift and repeated rows are computed on all rows.'
        >>> sampled({"sample": {"train": {"rows": 900, "taken": 90}, "test": {"rows": 9, "taken": 9}}})
        'Leaks, drift and repeated rows are computed on a sample: 90 of 900 train rows.'
    """
    parts = [
        f"{part['taken']:,} of {part['rows']:,} {name} rows"
        for name, part in quality["sample"].items()
        if part["taken"] < part["rows"]
    ]
    rows = f"a sample: {', '.join(parts)}" if parts else "all rows"
    return f"Leaks, drift and repeated rows are computed on {rows}."


def missing(column: Mapping[str, Any], rows: Mapping[str, int]) -> str:
    """Share of missing values of a column, and of missing floats in lists.

    The share is also given by split if splits differ by a hundredth or more.

    Example:
        >>> column = {"rows": 200, "nulls": 10, "missing": {"train": 0, "test": 10}, "gaps": None}
        >>> missing(column, {"train": 100, "test": 100}), missing({**column, "nulls": 0, "gaps": 0.5}, {})
        ('5.00% (train 0.00%, test 10.00%)', '50.00% of its floats')
    """
    parts = []
    if column["nulls"]:
        shares = {name: column["missing"][name] / count for name, count in rows.items() if count}
        apart = max(shares.values(), default=0.0) - min(shares.values(), default=0.0) >= 0.01
        by_split = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
        parts.append(f"{column['nulls'] / column['rows']:.2%}" + (f" ({by_split})" if apart else ""))
    if column["gaps"]:
        parts.append(f"{column['gaps']:.2%} of its floats")
    return ", ".join(parts)


def related(pair: Mapping[str, Any]) -> str:
    """Association of two labels: their correlation, or Cramér's V with the values that it refers to.

    Example:
        >>> related({"correlation": 0.5}), related({"association": 0.25, "label": [None, "sport"], "correlation": None})
        ('+0.500', 'V 0.250 (sport)')
    """
    if pair.get("association") is not None:
        values = " · ".join(str(label) for label in pair["label"] if label is not None)
        return f"V {pair['association']:.3f}" + (f" ({values})" if values else "")
    return "" if pair["correlation"] is None else f"{pair['correlation']:+.3f}"


def vector_rows(features: Mapping[str, Any]) -> list[list[str]]:
    """Rows of vector features by split: share missing, mean norm and its deviation."""
    return [
        [
            name,
            split,
            *("" if value is None else f"{value:{how}}" for value, how in zip(facts.values(), FORMS, strict=True)),
        ]
        for name, feature in features.items()
        for split, facts in feature.get("vector", {}).items()
    ]


def history_rows(histories: Mapping[str, Any]) -> list[list[str]]:
    """Rows of histories by split: share of empty ones, lengths, share of full ones, and age of the latest event."""
    return [
        [
            name,
            split,
            f"{facts['empty']:.2%}",
            *(f"{facts[key]:g}" for key in ("median", "high", "most")),
            f"{facts['full']:.2%}",
            "" if facts["age"] is None else f"{facts['age']:,.4g}",
        ]
        for name, splits in histories.items()
        for split, facts in splits.items()
    ]


def _tiles(quality: Mapping[str, Any]) -> str:
    facts = [(f"{rows:,}", f"{name} rows") for name, rows in quality["rows"].items()]
    levels = [finding["level"] for finding in quality["findings"] if not finding["accepted"]]
    facts += [(str(levels.count(level)), level) for level in ("serious", "warning", "info")]
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{value}</b>{name}</div>' for value, name in facts)
        + "</div>"
    )


def _finding(finding: Mapping[str, Any]) -> str:
    accepted = " accepted" if finding["accepted"] else ""
    word = f"{finding['level']}, accepted" if accepted else finding["level"]
    hint = f"<small>{escape(finding['hint'])}</small>" if finding["hint"] else ""
    head = f"<code>{escape(finding['name'])}</code> ({word}) — {escape(finding['reason'])}"
    return f'<div class="finding {finding["level"]}{accepted}">{head}{hint}</div>'


def column_rows(quality: Mapping[str, Any]) -> list[list[str]]:
    """Name, type, nulls, distinct values and role of each column."""
    rows = []
    for name, column in quality["columns"].items():
        distinct = "not counted" if column["distinct"] is None else f"{column['distinct']:,}"
        rows.append([name, column["type"], missing(column, quality["rows"]), distinct, quality["roles"].get(name, "")])
    return rows


def _labels(quality: Mapping[str, Any]) -> str:
    repeated = quality["repeated"] or {"contradictions": {}}
    rows = []
    for task, splits in quality["labels"].items():
        share = repeated["contradictions"].get(task)
        means = ["" if part["mean"] is None else f"{part['mean']:.4g}" for part in splits.values()]
        rows.append([task, f"{splits['train']['known']:,}", *means, "" if share is None else f"{share:.2%}"])
    splits = next(iter(quality["labels"].values()), {})
    return table(["task", "known in train", *(f"mean in {name}" for name in splits), "contradictory"], rows)


def _pairs(pairs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for pair in pairs:
        counts = ["" if pair[key] is None else f"{pair[key]:,}" for key in ("both", "first", "second", "neither")]
        rows.append([" · ".join(pair["tasks"]), f"{pair['rows']:,}", *counts, related(pair)])
    return table(["tasks", "rows", "both", "first only", "second only", "neither", "correlation"], rows)


def _alone(features: Mapping[str, Any]) -> str:
    tasks = list(dict.fromkeys(task for facts in features.values() for task in facts["alone"]))
    rows = ""
    for name, facts in features.items():
        rows += f"<tr><td>{escape(name)}</td><td>{facts['kind']}</td>"
        for task in tasks:
            value = facts["alone"].get(task)
            rows += "<td></td>" if value is None else f'<td class="heat" style="{_heat(value)}">{value:.3f}</td>'
        rows += "</tr>"
    head = "".join(f"<th>{escape(heading)}</th>" for heading in ("feature", "kind", *tasks))
    note = "<p>AUC of the training label, predicted by this feature only; 0.5 is random, above 0.98 suspicious.</p>"
    return f"{note}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _heat(value: float) -> str:
    if value > 0.98:
        return "background:#c8463c;color:#fff"
    return f"background:rgba(58,111,196,{min(max(value - 0.5, 0) * 1.2, 0.6):.2f})"


def _drift(features: Mapping[str, Any], thresholds: Sequence[float]) -> list[str]:
    splits = list(dict.fromkeys(split for facts in features.values() for split in facts["psi"]))
    plots = ["<p>PSI below 0.1 is usual; above 0.25 the distribution has changed.</p>"]
    for split in splits:
        values = [(name, facts["psi"][split]) for name, facts in features.items() if split in facts["psi"]]
        plots.append(drift(split, sorted(values, key=lambda pair: -pair[1])[:SHOWN], thresholds))
    return plots


def _unknown(features: Mapping[str, Any]) -> str:
    splits = list(dict.fromkeys(split for facts in features.values() for split in facts["out_of_vocabulary"]))
    rows = [
        [name, *(f"{facts['out_of_vocabulary'][split]:.2%}" for split in splits)]
        for name, facts in features.items()
        if any(facts["out_of_vocabulary"].values())
    ]
    return table(["feature", *splits], rows) if rows else "<p>No value is out of vocabulary.</p>"
