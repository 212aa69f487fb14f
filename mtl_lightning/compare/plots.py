"""Plots of a comparison."""

import math
import statistics
from collections.abc import Sequence

from mtl_lightning.report.render.svg import LEFT, RIGHT, ROW, WIDTH, line, svg, text, ticks

Interval = tuple[str, float | None, float | None, float | None]
"""Name, mean, lower end and upper end."""
END = WIDTH - RIGHT - 190
"""Right end of the axis; numbers are to its right."""


def forest(title: str, intervals: Sequence[Interval], chosen: str | None = None) -> str:
    """Forest plot: differences with confidence intervals around zero, one per line, with numbers to the right.

    An interval much wider than the others is cut and ends in an arrow, so that the others stay readable.

    Args:
        title: Title above the plot.
        intervals: Intervals. Without a mean only the name is shown; without ends only the mean.
        chosen: Name that is shown in bold; its interval is never cut.

    Example:
        >>> forest("click", [("mmoe-sum", 0.01, -0.01, 0.03)]).count("<circle")
        1
    """
    left, right = _range(intervals, chosen)
    height = ROW * (len(intervals) + 3)
    bottom = height - 1.5 * ROW

    def place(value: float) -> float:
        return LEFT + (min(max(value, left), right) - left) / (right - left) * (END - LEFT)

    parts = [text(LEFT, ROW * 0.8, title, "title")]
    places = max(0, 2 - math.floor(math.log10(right - left)))
    for value in ticks(left, right):
        parts.append(line(place(value), ROW * 1.2, place(value), bottom, "grid" if value else "zero"))
        parts.append(text(place(value), height - 0.6 * ROW, _signed(value) if value else "0", "tick"))
    for i, (name, mean, low, high) in enumerate(intervals):
        y = ROW * (i + 1.8)
        parts.append(text(LEFT - 10, y + 4, name, "name chosen" if name == chosen else "name"))
        if mean is None:
            continue
        kind, numbers = "even", _signed(mean, places)
        if low is not None and high is not None:
            kind = "gain" if low > 0 else "loss" if high < 0 else "even"
            numbers += f" ({_signed(low, places)} to {_signed(high, places)})"
            parts.append(line(place(low), y, place(high), y, kind))
            parts += [_arrow(LEFT, y, -1, kind)] if low < left else []
            parts += [_arrow(END, y, 1, kind)] if high > right else []
        parts.append(f'<circle class="{kind}" cx="{place(mean):.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(text(END + 12, y + 4, numbers, "value"))
    return svg(title, height, parts)


def _range(intervals: Sequence[Interval], chosen: str | None) -> tuple[float, float]:
    """Ends of the axis. It covers all means, the chosen interval, and other intervals unless they are far wider."""
    inside, ends = [0.0], [0.0]
    for name, mean, low, high in intervals:
        own_ends = [end for end in (low, high) if end is not None]
        ends += own_ends
        inside += [] if mean is None else [mean]
        inside += own_ends if name == chosen else []
    furthest = max(3 * max(map(abs, inside)), statistics.median(map(abs, ends)))
    left = min([max(min(ends), -furthest), *inside])
    right = max([min(max(ends), furthest), *inside])
    margin = 0.05 * (right - left) or 1.0
    return left - margin, right + margin


def _signed(value: float, places: int | None = None) -> str:
    return (f"{value:+g}" if places is None else f"{value:+.{places}f}").replace("-", "−")


def _arrow(x: float, y: float, direction: int, kind: str) -> str:
    return f'<path class="{kind}" d="M{x + 8 * direction} {y:.1f} l{-8 * direction} -5 v10 z"/>'
