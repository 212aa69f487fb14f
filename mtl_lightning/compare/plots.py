"""Plots of a comparison."""

from collections.abc import Sequence

from mtl_lightning.report.svg import LEFT, RIGHT, ROW, WIDTH, line, svg, text

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
    parts = [text(LEFT, ROW * 0.8, title, "title"), line(middle, ROW * 1.2, middle, bottom, "zero")]
    for share in (-1, -0.5, 0, 0.5, 1):
        value = share * span / 1.1
        parts.append(text(place(value), height - 0.6 * ROW, f"{value:+.3g}" if share else "0", "tick"))
    for i, (name, mean, low, high) in enumerate(intervals):
        y = ROW * (i + 1.8)
        parts.append(text(LEFT - 10, y + 4, name, "name"))
        if mean is None or low is None or high is None:
            continue
        kind = "gain" if low > 0 else "loss" if high < 0 else "even"
        parts.append(line(place(low), y, place(high), y, kind))
        parts.append(f'<circle class="{kind}" cx="{place(mean):.1f}" cy="{y:.1f}" r="4"/>')
    return svg(title, height, parts)
