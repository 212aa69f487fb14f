"""Trade-offs between two tasks as an SVG plot, along preferences and for single models."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from mtl_lightning.report.render.svg import COLORS, ROW, line, svg, text, ticks

Ends = tuple[float, float, float]
"""Mean, low end and high end of a value; equal if it has no interval."""
LEFT, RIGHT, TOP, BOTTOM = 90.0, 490.0, 36.0, 356.0


class Spot(NamedTuple):
    """A model in the plane of two tasks: its values, and the words that a pointer shows."""

    x: Ends
    y: Ends
    words: str


class Group(NamedTuple):
    """Models of one colour, and those that a line joins, in its order."""

    spots: Sequence[Spot]
    joined: Sequence[Spot] = ()


def pair_of(preference: Mapping[str, float], pair: tuple[str, str]) -> bool:
    """True if a preference gives all tasks except two nothing: these points form the line of a plot.

    Example:
        >>> pair_of({"a": 0.3, "b": 0.7, "c": 0.0}, ("a", "b")), pair_of({"a": 0.3, "b": 0.5, "c": 0.2}, ("a", "b"))
        (True, False)
    """
    return all(share == 0 for task, share in preference.items() if task not in pair)


def preference_words(preference: Mapping[str, float]) -> str:
    """Preference as text.

    Example:
        >>> preference_words({"click": 0.25, "buy": 0.75})
        'click 0.25, buy 0.75'
    """
    return ", ".join(f"{task} {share:.3g}" for task, share in preference.items())


def trade_offs(axes: tuple[str, str], groups: Mapping[str, Group]) -> str:
    """Plot of models in the plane of two tasks, with their intervals.

    Colours repeat after eight groups.

    Args:
        axes: Names of the horizontal and the vertical axis.
        groups: Models by name.

    Example:
        >>> spot = Spot((0.7, 0.69, 0.71), (0.6, 0.6, 0.6), "click 0.5, buy 0.5")
        >>> trade_offs(("click auc", "buy auc"), {"test": Group([spot])}).count("<circle")
        1
    """
    spots = [spot for group in groups.values() for spot in group.spots]
    first, last = _range([end for spot in spots for end in spot.x])
    low, high = _range([end for spot in spots for end in spot.y])

    def across(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (RIGHT - LEFT)

    def up(value: float) -> float:
        return BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP)

    parts = [
        text(LEFT, TOP - 16, f"{axes[1]} over {axes[0]}", "title"),
        text((LEFT + RIGHT) / 2, BOTTOM + 40, axes[0], "tick"),
    ]
    for value in ticks(low, high):
        parts += [line(LEFT, up(value), RIGHT, up(value), "grid"), text(LEFT - 8, up(value) + 4, f"{value:g}", "name")]
    parts += [text(across(value), BOTTOM + 20, f"{value:g}", "tick") for value in ticks(first, last)]
    for i, (name, group) in enumerate(groups.items()):
        color = COLORS[i % len(COLORS)]
        path = " ".join(f"{across(spot.x[0]):.1f},{up(spot.y[0]):.1f}" for spot in group.joined)
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>')
        for spot in group.spots:
            x, y = across(spot.x[0]), up(spot.y[0])
            bars = f"M{across(spot.x[1]):.1f} {y:.1f} H{across(spot.x[2]):.1f} "
            bars += f"M{x:.1f} {up(spot.y[1]):.1f} V{up(spot.y[2]):.1f}"
            parts.append(f'<path fill="none" stroke="{color}" stroke-opacity=".45" d="{bars}"/>')
            title = f"<title>{escape(spot.words)}</title>"
            parts.append(f'<circle fill="{color}" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>')
        y = TOP + 10 + ROW * i
        parts.append(f'<rect fill="{color}" x="{RIGHT + 24}" y="{y - 10}" width="12" height="12"/>')
        parts.append(text(RIGHT + 42, y, name, "value"))
    return svg(f"{axes[1]} over {axes[0]}", max(BOTTOM + 55, TOP + ROW * (len(groups) + 1)), parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis around values, with a margin."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.05 * (high - low) or abs(low) * 0.01 or 1.0
    return low - margin, high + margin
