"""A study as one HTML page without scripts: the trials, and the front over each pair of tasks."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import combinations
from typing import Any

from mtl_lightning.report.render.svg import ticks

SIZE, MARGIN = 360, 60
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }
tr.best td { font-weight: bold; } tr.front td { background: #eef5ee; }
svg { width: 24rem; max-width: 100%; height: auto; font: 13px system-ui, sans-serif; }
.axis { stroke: #999; } .name { text-anchor: middle; } .tick { fill: #666; text-anchor: middle; }
.trial { fill: #b8bfca; } .front { fill: #176b3a; } .best { fill: #d2691e; } .step { stroke: #176b3a; fill: none; }
"""
Point = tuple[float, float, str, str]
"""x, y, CSS class, and title."""


def page(result: Mapping[str, Any]) -> str:
    """Render a result as HTML.

    Args:
        result: Result of :func:`~mtl_lightning.tune.outcome.gather`.
    """
    title = f"Trials of {result['recipe']}"
    plots = "".join(_pair(result, first, second) for first, second in combinations(result["tasks"], 2))
    best = "no trial is complete" if result["best"] is None else f"the best trial is {result['best']}"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<link rel="icon" href="data:,"><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>{len(result["trials"])} trials; {best} (orange). On the front (green), no other trial is as good for every task
and better for one. All values are of the validation split.</p>
{plots}
{_table(result)}
</body></html>
"""


def scatter(x_name: str, y_name: str, points: Sequence[Point]) -> str:
    """A scatter plot as SVG.

    Args:
        x_name: Title of the horizontal axis.
        y_name: Title of the vertical axis.
        points: The points; later ones are drawn on top.

    Example:
        >>> scatter("click", "dwell", [(0.7, 3.0, "front", "trial 0"), (0.6, 4.0, "trial", "trial 1")]).count("<circle")
        2
    """
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    ends = [(min(values, default=0.0), max(values, default=1.0)) for values in (xs, ys)]
    (left, right), (low, high) = [(a - (b - a or 1) * 0.05, b + (b - a or 1) * 0.05) for a, b in ends]
    inner, bottom = SIZE - 2 * MARGIN, SIZE - MARGIN
    parts = [
        f'<path class="axis" fill="none" d="M{MARGIN} {MARGIN / 2} V{bottom} H{SIZE - MARGIN / 2}"/>',
        f'<text class="name" x="{SIZE / 2}" y="{SIZE - 12}">{escape(x_name)}</text>',
        f'<text class="name" x="{SIZE / 2}" y="16">{escape(y_name)} (vertical)</text>',
    ]
    for value in ticks(left, right):
        x = MARGIN + (value - left) / (right - left) * inner
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}">{value:g}</text>')
    for value in ticks(low, high):
        y = bottom - (value - low) / (high - low) * inner
        parts.append(f'<text class="tick" x="{MARGIN - 30}" y="{y + 4:.1f}">{value:g}</text>')
    for x, y, kind, name in points:
        across, up = (x - left) / (right - left) * inner, (y - low) / (high - low) * inner
        parts.append(
            f'<circle class="{kind}" cx="{MARGIN + across:.1f}" cy="{bottom - up:.1f}" r="4.5">'
            f"<title>{escape(name)}</title></circle>"
        )
    label = escape(f"{y_name} over {x_name}")
    opening = f'<svg role="img" aria-label="{label}" viewBox="0 0 {SIZE} {SIZE}" xmlns="http://www.w3.org/2000/svg">'
    return f"{opening}{''.join(parts)}</svg>"


def _pair(result: Mapping[str, Any], first: str, second: str) -> str:
    points: list[Point] = []
    for trial in result["trials"]:
        values = trial["tasks"] or {}
        if trial["state"] == "complete" and values.get(first) is not None and values.get(second) is not None:
            name = f"trial {trial['number']}: {', '.join(trial['settings'])}"
            points.append((values[first], values[second], _kind(result, trial["number"]), name))
    points.sort(key=lambda point: ("trial", "front", "best").index(point[2]))
    first_name, second_name = (f"{task} {result['tasks'][task]['metric']}" for task in (first, second))
    return scatter(first_name, second_name, points)


def _kind(result: Mapping[str, Any], number: int) -> str:
    return "best" if number == result["best"] else "front" if number in result["front"] else "trial"


def _table(result: Mapping[str, Any]) -> str:
    keys = list(dict.fromkeys(key for trial in result["trials"] for key in trial["params"]))
    names = [f"{task} {facts['metric']}" for task, facts in result["tasks"].items()]
    head = "".join(f"<th>{escape(name)}</th>" for name in ["trial", "state", "score", *names, *keys])
    body = ""
    for trial in sorted(
        result["trials"], key=lambda trial: -1e9 if trial["score"] is None else trial["score"], reverse=True
    ):
        values = [(trial["tasks"] or {}).get(task) for task in result["tasks"]]
        state = f"{trial['state']}: {trial['reason']}" if trial.get("reason") else trial["state"]
        cells = [str(trial["number"]), state, *(_number(value) for value in (trial["score"], *values))]
        cells += [_number(trial["params"].get(key)) for key in keys]
        body += (
            f'<tr class="{_kind(result, trial["number"])}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
