"""Plots as SVG text for HTML pages."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, RIGHT, ROW = 760, 220, 30, 24
COLORS = ("#3f78c9", "#d2691e", "#2f8f57", "#a052c4", "#b8860b", "#c2415b", "#2b94a3", "#7a7f87")
"""Colours of lines, readable on white and on black."""
SMALL = 420
"""Width of a plot of curves, of which two stand side by side."""
MARKED = 60
"""Most points of a line that is drawn with marks."""


def bars(title: str, values: Sequence[tuple[str, float | None]], unit: str) -> str:
    """Bar plot of non-negative values, one bar per line.

    Args:
        title: Title above the plot.
        values: Names and values ≥ 0; a missing value has no bar.
        unit: Unit printed after each value.

    Example:
        >>> bars("step time", [("mmoe", 3.0), ("ple", None)], "ms").count("<rect")
        1
    """
    largest = max((value for _, value in values if value is not None), default=0.0) or 1.0
    parts = [text(LEFT, ROW * 0.8, title, "title")]
    for i, (name, value) in enumerate(values):
        y = ROW * (i + 1.4)
        parts.append(text(LEFT - 10, y + 13, name, "name"))
        if value is None:
            continue
        width = value / largest * (WIDTH - RIGHT - LEFT - 90)
        parts.append(f'<rect class="bar" x="{LEFT}" y="{y:.1f}" width="{width:.1f}" height="{ROW - 8}"/>')
        number = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
        parts.append(text(LEFT + width + 6, y + 13, f"{number} {unit}".rstrip(), "value"))
    return svg(title, ROW * (len(values) + 2), parts)


def curves(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], across: str = "step") -> str:
    """Line plot of values over steps, with a legend below; small, so that a phone shows it whole.

    Args:
        title: Title above the plot.
        lines: Finite points (x, y) by name, in the order of x. Colours repeat after eight lines.
        across: Name of the horizontal axis.

    Example:
        >>> curves("loss", {"click": [(0, 0.7), (10, 0.5)], "dwell": [(5, 1.0)]}).count("<polyline")
        2
    """
    points = [point for line in lines.values() for point in line]
    ends = [(min(values), max(values)) for values in zip(*points, strict=True)] or [(0.0, 1.0)] * 2
    (first, last), (low, high) = [(a, b if b > a else a + (abs(a) or 1.0)) for a, b in ends]
    left, right, top, bottom = 70.0, SMALL - 20.0, ROW * 1.4, 230.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = ((point[0] - first) / (last - first), (point[1] - low) / (high - low))
        return left + x * (right - left), bottom - y * (bottom - top)

    parts = [text(left, ROW * 0.8, title, "title"), text((left + right) / 2, bottom + 38, across, "tick")]
    for value in ticks(low, high):
        y = place((first, value))[1]
        parts += [line(left, y, right, y, "grid"), text(left - 8, y + 4, f"{value:,g}", "name")]
    parts += [text(place((value, low))[0], bottom + 20, f"{value:,g}", "tick") for value in ticks(first, last)]
    for i, (name, run) in enumerate(lines.items()):
        color, places = COLORS[i % len(COLORS)], [place(point) for point in run]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{path}"/>')
        marked = places if len(places) <= MARKED else []
        parts += [f'<circle fill="{color}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in marked]
        x, y = left + i % 2 * (right - left) / 2, bottom + 62 + i // 2 * ROW
        parts.append(f'<rect fill="{color}" x="{x:.1f}" y="{y - 10:.1f}" width="12" height="12"/>')
        parts.append(text(x + 18, y, name, "value"))
    return svg(title, bottom + 52 + ROW * ((len(lines) + 1) // 2), parts, SMALL)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers between two ends.

    Example:
        >>> ticks(0, 0.522), ticks(-0.17, 0.09)
        ([0.0, 0.2, 0.4], [-0.15, -0.1, -0.05, 0.0, 0.05])
    """
    for exponent in range(math.floor(math.log10((high - low) / most)) if high > low else 0, 309):
        for digit in (1, 2, 2.5, 5):
            step = digit * 10.0**exponent
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first < most:
                return [float(f"{i * step:.10g}") for i in range(first, last + 1)]
    raise ValueError(f"no ticks between {low} and {high}")


def svg(title: str, height: float, parts: Sequence[str], width: float = WIDTH) -> str:
    """SVG element that contains ``parts``."""
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, kind: str) -> str:
    """SVG text at a position; ``kind`` is its CSS class."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """SVG line between two points; ``kind`` is its CSS class."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
