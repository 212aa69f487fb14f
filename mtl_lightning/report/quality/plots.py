"""Plots of a log's quality: label rates by day, and drift with its thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_lightning.report.render.svg import LEFT, RIGHT, ROW, WIDTH, line, svg, text

HEIGHT = 150
TOP, BOTTOM, SIDE = 34, 24, 56


def days(task: str, points: Sequence[Mapping[str, Any]]) -> str:
    """Mean label by day as a line, on bars of the number of known labels.

    Args:
        task: The task's name.
        points: Days in order, each with ``day``, ``known`` labels and their ``mean``.

    Example:
        >>> days("click", [{"day": "1", "known": 9, "mean": 0.2}, {"day": "2", "known": 9, "mean": 0.3}]).count("<rect")
        2
    """
    means = [point["mean"] for point in points]
    low, high = min(means), max(means)
    margin = (high - low) * 0.15 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    most = max(point["known"] for point in points)
    width = (WIDTH - SIDE - RIGHT) / len(points)
    floor = HEIGHT - BOTTOM

    def height(value: float) -> float:
        return float(floor - (value - low) / (high - low) * (floor - TOP))

    parts = [text(0, 16, f"{task}: mean label by day", "title"), line(SIDE, floor, WIDTH - RIGHT, floor, "axis")]
    every = -(-len(points) // 8)
    places = []
    for i, point in enumerate(points):
        bar = point["known"] / most * (floor - TOP)
        left = SIDE + i * width
        parts.append(
            f'<rect class="count" x="{left + 1:.1f}" y="{floor - bar:.1f}" width="{max(width - 2, 1):.1f}" '
            f'height="{bar:.1f}"><title>{point["known"]:,} known</title></rect>'
        )
        places.append((left + width / 2, height(point["mean"])))
        if i % every == 0:
            parts.append(text(left + width / 2, HEIGHT - 6, point["day"], "tick"))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline class="rate" points="{path}"/>')
    parts += [f'<circle class="rate" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    parts += [text(SIDE - 8, height(value) + 4, f"{value:.3g}", "name") for value in sorted({min(means), max(means)})]
    return svg(f"{task} by day", HEIGHT, parts)


def drift(split: str, values: Sequence[tuple[str, float]], thresholds: Sequence[float]) -> str:
    """PSI per feature as bars, with lines at the thresholds; the scale ends at twice the last threshold.

    Args:
        split: Split that is compared with the training split.
        values: Names of features and their PSI.
        thresholds: Thresholds, ascending.

    Example:
        >>> drift("test", [("user", 0.02), ("day", 3.0)], (0.1, 0.25)).count('class="bar')
        2
    """
    end = 2 * thresholds[-1]
    span = WIDTH - RIGHT - LEFT - 90
    bottom = ROW * (len(values) + 1.4)
    parts = [text(LEFT, ROW * 0.8, f"PSI from train to {split}", "title")]
    for i, (name, value) in enumerate(values):
        y = ROW * (i + 1.4)
        level = sum(value > threshold for threshold in thresholds)
        width = max(min(value, end) / end * span, 1)
        parts.append(text(LEFT - 10, y + 13, name, "name"))
        parts.append(f'<rect class="bar level{level}" x="{LEFT}" y="{y:.1f}" width="{width:.1f}" height="{ROW - 8}"/>')
        parts.append(text(LEFT + width + 6, y + 13, f"{value:.3f}" + (" →" if value > end else ""), "value"))
    for threshold in thresholds:
        x = LEFT + threshold / end * span
        parts += [line(x, ROW * 1.2, x, bottom, "threshold"), text(x, bottom + 14, f"{threshold:g}", "tick")]
    return svg(f"PSI from train to {split}", bottom + 20, parts)
