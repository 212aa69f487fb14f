"""The quality of a log as one HTML page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mtl_lightning.report.quality.plots import days, drift
from mtl_lightning.report.render.html import document, table

STYLE = """
.finding { border-left: 5px solid #999; padding: .4rem 1rem; margin: .5rem 0; background: #f4f6f8; }
.finding.serious { border-color: #b3261e; background: #fbeceb; } .finding.warning { border-color: #d98e04;
background: #fdf5e6; } .finding.info { border-color: #3a6fc4; } .finding.accepted { opacity: .6; }
.finding code { font-weight: bold; } .finding small { color: #555; display: block; }
.tiles { display: flex; gap: 1rem; flex-wrap: wrap; } .tile { background: #f4f6f8; padding: .5rem 1.25rem;
border-radius: 6px; } .tile b { font-size: 1.5rem; display: block; } .wide { overflow-x: auto; }
td.heat { text-align: center; } h2 { margin-top: 2.5rem; border-bottom: 2px solid #eee; }
line.axis { stroke: #ccc; stroke-width: 1; } line.threshold { stroke: #888; stroke-dasharray: 4 3; stroke-width: 1; }
rect.count { fill: #e4eaf3; } polyline.rate { fill: none; stroke: #27559b; stroke-width: 2; }
circle.rate { fill: #27559b; } rect.bar.level1 { fill: #e2a93b; } rect.bar.level2 { fill: #c8463c; }
"""
FORMS = (".2%", ".4g", ".4g")
"""Of the facts of a vector."""
SHOWN = 15
"""Features in a plot of drift."""


def quality_page(found: Mapping[str, Any], title: str, thresholds: Sequence[float]) -> str:
    """The page of what :func:`~mtl_lightning.data.quality.look.look` found.

    Args:
        found: The findings and what they rest on.
        title: Its heading.
        thresholds: Of PSI.
    """
    parts = [_tiles(found), "<h2>Findings</h2>", *map(_finding, found["findings"])]
    if not found["findings"]:
        parts.append("<p>Nothing was found.</p>")
    parts += ["<h2>Columns</h2>", f'<div class="wide">{_columns(found)}</div>', "<h2>Labels</h2>", _labels(found)]
    parts += [days(task, points) for task, points in found["days"].items()]
    if found["pairs"]:
        parts += ["<h3>Labels beside each other</h3><p>Training rows where both are known.</p>", _pairs(found["pairs"])]
    if found["features"]:
        parts += ["<h2>Features</h2>", f"<p>{escape(sampled(found))}</p>"]
        parts += ["<h3>What a feature alone tells of a label</h3>", _alone(found["features"])]
        parts += ["<h3>Drift</h3>", *_drift(found["features"], thresholds)]
        if vectors := vector_rows(found["features"]):
            parts += ["<h3>Vectors</h3>", table(["vector", "split", "missing", "mean norm", "deviation"], vectors)]
        parts += ["<h3>Out of vocabulary</h3>", _unknown(found["features"])]
    return document(title, "\n".join(parts), STYLE)


def sampled(found: Mapping[str, Any]) -> str:
    """Of which rows the numbers are, in a sentence.

    Example:
        >>> sampled({"sample": {"train": {"rows": 9, "taken": 9}}})
        'Leaks, drift and repeated rows are of all rows.'
        >>> sampled({"sample": {"train": {"rows": 900, "taken": 90}, "test": {"rows": 9, "taken": 9}}})
        'Leaks, drift and repeated rows are of a sample: 90 of 900 train rows.'
    """
    parts = [
        f"{part['taken']:,} of {part['rows']:,} {name} rows"
        for name, part in found["sample"].items()
        if part["taken"] < part["rows"]
    ]
    return "Leaks, drift and repeated rows are of " + (f"a sample: {', '.join(parts)}." if parts else "all rows.")


def missing(column: Mapping[str, Any], rows: Mapping[str, int]) -> str:
    """Share of a column that is missing, by split where splits differ by a hundredth or more, and of floats in lists.

    Example:
        >>> column = {"rows": 200, "nulls": 10, "missing": {"train": 0, "test": 10}, "gaps": None}
        >>> missing(column, {"train": 100, "test": 100}), missing({**column, "nulls": 0, "gaps": 0.5}, {})
        ('5.00% (train 0.00%, test 10.00%)', 'of its floats 50.00%')
    """
    parts = []
    if column["nulls"]:
        shares = {name: column["missing"][name] / count for name, count in rows.items() if count}
        apart = max(shares.values(), default=0.0) - min(shares.values(), default=0.0) >= 0.01
        each = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
        parts.append(f"{column['nulls'] / column['rows']:.2%}" + (f" ({each})" if apart else ""))
    if column["gaps"]:
        parts.append(f"of its floats {column['gaps']:.2%}")
    return ", ".join(parts)


def related(pair: Mapping[str, Any]) -> str:
    """How two labels go together: a correlation, or Cramér's V with the labels that it is of.

    Example:
        >>> related({"correlation": 0.5}), related({"association": 0.25, "label": [None, "sport"], "correlation": None})
        ('+0.500', 'V 0.250 (sport)')
    """
    if pair.get("association") is not None:
        of = " · ".join(str(label) for label in pair["label"] if label is not None)
        return f"V {pair['association']:.3f}" + (f" ({of})" if of else "")
    return "" if pair["correlation"] is None else f"{pair['correlation']:+.3f}"


def vector_rows(features: Mapping[str, Any]) -> list[list[str]]:
    """Vector features by split: share that is missing, mean norm and its deviation."""
    return [
        [
            name,
            split,
            *("" if value is None else f"{value:{how}}" for value, how in zip(facts.values(), FORMS, strict=True)),
        ]
        for name, of in features.items()
        for split, facts in of.get("vector", {}).items()
    ]


def _tiles(found: Mapping[str, Any]) -> str:
    facts = [(f"{rows:,}", f"{name} rows") for name, rows in found["rows"].items()]
    levels = [one["level"] for one in found["findings"] if not one["accepted"]]
    facts += [(str(levels.count(level)), level) for level in ("serious", "warning", "info")]
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{value}</b>{name}</div>' for value, name in facts)
        + "</div>"
    )


def _finding(one: Mapping[str, Any]) -> str:
    accepted = " accepted" if one["accepted"] else ""
    word = f"{one['level']}, accepted" if accepted else one["level"]
    hint = f"<small>{escape(one['hint'])}</small>" if one["hint"] else ""
    head = f"<code>{escape(one['name'])}</code> ({word}) — {escape(one['reason'])}"
    return f'<div class="finding {one["level"]}{accepted}">{head}{hint}</div>'


def _columns(found: Mapping[str, Any]) -> str:
    rows = []
    for name, column in found["columns"].items():
        distinct = "not counted" if column["distinct"] is None else f"{column['distinct']:,}"
        rows.append([name, column["type"], missing(column, found["rows"]), distinct, found["roles"].get(name, "")])
    return table(["column", "type", "nulls", "distinct", "role"], rows)


def _labels(found: Mapping[str, Any]) -> str:
    repeated = found["repeated"] or {"contradictions": {}}
    rows = []
    for task, splits in found["labels"].items():
        share = repeated["contradictions"].get(task)
        means = ["" if part["mean"] is None else f"{part['mean']:.4g}" for part in splits.values()]
        rows.append([task, f"{splits['train']['known']:,}", *means, "" if share is None else f"{share:.2%}"])
    splits = next(iter(found["labels"].values()), {})
    return table(["task", "known in train", *(f"mean in {name}" for name in splits), "contradictory"], rows)


def _pairs(pairs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for pair in pairs:
        counts = ["" if pair[key] is None else f"{pair[key]:,}" for key in ("both", "first", "second", "neither")]
        rows.append([" · ".join(pair["tasks"]), f"{pair['rows']:,}", *counts, related(pair)])
    return table(["tasks", "rows", "both", "only the first", "only the second", "neither", "correlation"], rows)


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
    note = "<p>AUC of the training label, by the feature's values alone; 0.5 is nothing, above 0.98 is suspicious.</p>"
    return f"{note}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _heat(value: float) -> str:
    if value > 0.98:
        return "background:#c8463c;color:#fff"
    return f"background:rgba(58,111,196,{min(max(value - 0.5, 0) * 1.2, 0.6):.2f})"


def _drift(features: Mapping[str, Any], thresholds: Sequence[float]) -> list[str]:
    splits = list(dict.fromkeys(split for facts in features.values() for split in facts["psi"]))
    plots = ["<p>Below 0.1 is usual; above 0.25 the values are others.</p>"]
    for split in splits:
        values = [(name, facts["psi"][split]) for name, facts in features.items() if split in facts["psi"]]
        plots.append(drift(split, sorted(values, key=lambda one: -one[1])[:SHOWN], thresholds))
    return plots


def _unknown(features: Mapping[str, Any]) -> str:
    splits = list(dict.fromkeys(split for facts in features.values() for split in facts["out_of_vocabulary"]))
    rows = [
        [name, *(f"{facts['out_of_vocabulary'][split]:.2%}" for split in splits)]
        for name, facts in features.items()
        if any(facts["out_of_vocabulary"].values())
    ]
    return table(["feature", *splits], rows) if rows else "<p>No value is.</p>"
