"""A study as one HTML page without scripts: the trials, and the front over each pair of tasks."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import combinations
from typing import Any

from mtl_lightning.report.render.html import document, links, table
from mtl_lightning.report.render.svg import svg, text, ticks

SIZE, MARGIN = 360, 60
STYLE = """
body { max-width: 72rem; } table { font-size: .9rem; }
tr.best td { font-weight: bold; } tr.front td { background: rgba(47, 143, 87, .14); }
svg { width: 24rem; max-width: 100%; height: auto; font: 13px system-ui, sans-serif; }
.axis { stroke: #999; } .name { text-anchor: middle; } .tick { text-anchor: middle; }
.trial { fill: #b8bfca; } .front { fill: #2f8f57; } .best { fill: #d2691e; } .step { stroke: #2f8f57; fill: none; }
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
    pages = {str(trial["number"]): trial["page"] for trial in result["trials"] if trial.get("page")}
    best = "no trial is complete" if result["best"] is None else f"the best trial is {result['best']}"
    body = f"""<p>{len(result["trials"])} trials; {best} (orange). On the front (green), no other trial is as good for
every task and better for one. All values are of the validation split.</p>
{plots}
{_table(result)}
{links("Runs", {"trials": pages})}"""
    return document(title, body, STYLE)


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
        text(SIZE / 2, SIZE - 12, x_name, "tick"),
        text(SIZE / 2, 16, f"{y_name} (vertical)", "tick"),
    ]

    def across(value: float) -> float:
        return MARGIN + (value - left) / (right - left) * inner

    def up(value: float) -> float:
        return bottom - (value - low) / (high - low) * inner

    parts += [text(across(value), bottom + 18, f"{value:g}", "tick") for value in ticks(left, right)]
    parts += [text(MARGIN - 30, up(value) + 4, f"{value:g}", "tick") for value in ticks(low, high)]
    for x, y, kind, name in points:
        parts.append(
            f'<circle class="{kind}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="4.5">'
            f"<title>{escape(name)}</title></circle>"
        )
    return svg(f"{y_name} over {x_name}", SIZE, parts, SIZE)


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
    rows, kinds = [], []
    for trial in sorted(
        result["trials"], key=lambda trial: -1e9 if trial["score"] is None else trial["score"], reverse=True
    ):
        values = [(trial["tasks"] or {}).get(task) for task in result["tasks"]]
        state = f"{trial['state']}: {trial['reason']}" if trial.get("reason") else trial["state"]
        cells = [str(trial["number"]), state, *(_number(value) for value in (trial["score"], *values))]
        cells += [_number(trial["params"].get(key)) for key in keys]
        rows.append(cells)
        kinds.append(_kind(result, trial["number"]))
    return table(["trial", "state", "score", *names, *keys], rows, kinds)


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
