"""Plots of a comparison as SVG text that stands in a page without any script."""

from collections.abc import Sequence
from html import escape

WIDTH, LEFT, RIGHT, ROW = 760, 220, 30, 24
Interval = tuple[str, float | None, float | None, float | None]
"""Name, mean, lower and upper end."""


def forest(title: str, intervals: Sequence[Interval]) -> str:
    """Differences with their confidence intervals, one line each, around zero.

    Args:
        title: Above the plot.
        intervals: What is drawn; without a mean only the name is.

    Example:
        >>> forest("click", [("mmoe-sum", 0.01, -0.01, 0.03)]).count("<circle")
        1
    """
    ends = [abs(end) for _, _, low, high in intervals for end in (low, high) if end is not None]
    span = max(ends, default=0.0) * 1.1 or 1.0
    height = ROW * (len(intervals) + 3)
    middle = (LEFT + WIDTH - RIGHT) / 2

    def place(value: float) -> float:
        return middle + value / span * (WIDTH - RIGHT - LEFT) / 2

    bottom = height - 1.5 * ROW
    parts = [_text(LEFT, ROW * 0.8, title, "title"), _line(middle, ROW * 1.2, middle, bottom, "zero")]
    for share in (-1, -0.5, 0, 0.5, 1):
        value = share * span / 1.1
        parts.append(_text(place(value), height - 0.6 * ROW, f"{value:+.3g}" if share else "0", "tick"))
    for i, (name, mean, low, high) in enumerate(intervals):
        y = ROW * (i + 1.8)
        parts.append(_text(LEFT - 10, y + 4, name, "name"))
        if mean is None or low is None or high is None:
            continue
        kind = "gain" if low > 0 else "loss" if high < 0 else "even"
        parts.append(_line(place(low), y, place(high), y, kind))
        parts.append(f'<circle class="{kind}" cx="{place(mean):.1f}" cy="{y:.1f}" r="4"/>')
    return _svg(title, height, parts)


def bars(title: str, values: Sequence[tuple[str, float | None]], unit: str) -> str:
    """Values from zero as bars, one line each.

    Args:
        title: Above the plot.
        values: Names and values ≥ 0; one that is missing has no bar.
        unit: After each value.

    Example:
        >>> bars("step time", [("mmoe", 3.0), ("ple", None)], "ms").count("<rect")
        1
    """
    largest = max((value for _, value in values if value is not None), default=0.0) or 1.0
    parts = [_text(LEFT, ROW * 0.8, title, "title")]
    for i, (name, value) in enumerate(values):
        y = ROW * (i + 1.4)
        parts.append(_text(LEFT - 10, y + 13, name, "name"))
        if value is None:
            continue
        width = value / largest * (WIDTH - RIGHT - LEFT - 90)
        parts.append(f'<rect class="bar" x="{LEFT}" y="{y:.1f}" width="{width:.1f}" height="{ROW - 8}"/>')
        parts.append(_text(LEFT + width + 6, y + 13, f"{value:,.4g} {unit}", "value"))
    return _svg(title, ROW * (len(values) + 2), parts)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
