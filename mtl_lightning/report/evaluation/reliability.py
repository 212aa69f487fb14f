"""Reliability plots: observed against predicted rates, with the diagonal of a calibrated model."""

from collections.abc import Mapping, Sequence

from mtl_lightning.report.render.svg import line, svg, text, ticks

Points = Mapping[str, Sequence[float | None]]
"""``predicted`` rate, ``observed`` rate and ``weight`` of each group of rows."""

SIDE, LEFT, TOP = 300, 90, 30
COLORS = ("#27559b", "#d2691e", "#176b3a", "#8c3fa8")
STYLE = """
line.diagonal { stroke: #999; stroke-dasharray: 3 3; stroke-width: 1; } line.axis { stroke: #999; stroke-width: 1; }
"""


def reliability_plot(title: str, curves: Mapping[str, Points]) -> str:
    """Reliability plot of a task as SVG.

    Args:
        title: Title above the plot.
        curves: Points by name (a split, a model). Colours repeat after four curves.

    Example:
        >>> points = {"predicted": [0.1, 0.3], "observed": [0.2, 0.3], "weight": [5.0, 5.0]}
        >>> reliability_plot("click", {"test": points}).count("<circle")
        2
    """
    known = {name: _known(points) for name, points in curves.items()}
    largest = max((value for points in known.values() for point in points for value in point), default=0.0) * 1.05
    largest = min(largest, 1.0) or 1.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + point[0] / largest * SIDE, TOP + SIDE - point[1] / largest * SIDE

    bottom = TOP + SIDE
    parts = [
        text(LEFT, TOP - 12, title, "title"),
        line(LEFT, bottom, LEFT + SIDE, TOP, "diagonal"),
        line(LEFT, bottom, LEFT + SIDE, bottom, "axis"),
        line(LEFT, bottom, LEFT, TOP, "axis"),
        text(LEFT + SIDE / 2, bottom + 40, "predicted", "tick"),
        f'<text class="tick" transform="translate({LEFT - 66} {TOP + SIDE / 2}) rotate(-90)">observed</text>',
    ]
    for value in ticks(0.0, largest):
        x, y = place((value, value))
        number = f"{value:g}"
        parts += [text(x, bottom + 20, number, "tick"), text(LEFT - 10, y + 4, number, "name")]
    for i, (name, points) in enumerate(known.items()):
        color, places = COLORS[i % len(COLORS)], [place(point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>')
        parts += [f'<circle fill="{color}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places]
        y = TOP + 20 + 22 * i
        parts.append(f'<rect fill="{color}" x="{LEFT + SIDE + 30}" y="{y - 10}" width="12" height="12"/>')
        parts.append(text(LEFT + SIDE + 50, y, name, "value"))
    return svg(title, bottom + 55, parts)


def _known(points: Points) -> list[tuple[float, float]]:
    pairs = zip(points["predicted"], points["observed"], strict=True)
    return [(predicted, observed) for predicted, observed in pairs if predicted is not None and observed is not None]
