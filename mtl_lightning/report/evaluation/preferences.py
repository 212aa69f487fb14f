"""Section of an evaluation: metrics of all tasks along preferences, for models that read them."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from mtl_lightning.report.render.html import table
from mtl_lightning.report.render.tables import number
from mtl_lightning.report.render.trade_offs import Group, Spot, pair_of, preference_words, trade_offs

TITLE = "Trade-offs along preferences"


def preference_rows(preferences: Mapping[str, Any], metrics: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: preference, and the metric of each task per split.

    Args:
        preferences: ``preferences`` of the evaluation; undefined values are None.
        metrics: Metric of each task.

    Example:
        >>> point = {"preference": {"a": 0.5, "b": 0.5}, "metrics": {"a/auc": 0.75, "b/auc": None}}
        >>> preference_rows({"test": {"points": [point]}}, {"a": "auc", "b": "auc"})
        (['preference of a, b', 'test a auc', 'test b auc'], [['0.5, 0.5', '0.7500', 'undefined']])
    """
    headings = [f"preference of {', '.join(next(iter(preferences.values()))['points'][0]['preference'])}"]
    headings += [f"{split} {task} {metric}" for split in preferences for task, metric in metrics.items()]
    rows = []
    for points in zip(*(facts["points"] for facts in preferences.values()), strict=True):
        values = [point["metrics"][f"{task}/{metric}"] for point in points for task, metric in metrics.items()]
        cells = ["undefined" if value is None else number(value) for value in values]
        rows.append([", ".join(f"{share:.3g}" for share in points[0]["preference"].values()), *cells])
    return headings, rows


def sampled_rows(preferences: Mapping[str, Any]) -> str:
    """Numbers of rows as text.

    Example:
        >>> sampled_rows({"validation": {"rows": 900, "of": 900}, "test": {"rows": 20000, "of": 60000}})
        'validation 900 of 900 rows, test 20,000 of 60,000 rows'
    """
    return ", ".join(f"{split} {facts['rows']:,} of {facts['of']:,} rows" for split, facts in preferences.items())


def preference_section(preferences: Mapping[str, Any], metrics: Mapping[str, str]) -> list[str]:
    """HTML of the section, in parts: a plot for each two tasks, and a table.

    Args:
        preferences: ``preferences`` of the evaluation; undefined values are None.
        metrics: Metric of each task.
    """
    intro = f"""<h2>{TITLE}</h2><p>The same weights at each preference, on a random sample of rows:
{sampled_rows(preferences)}. Each point is a preference; a line joins those that give the other tasks nothing. Choose a
preference on validation. <code>compare</code> shows intervals, and models trained for one trade-off.</p>"""
    plots = []
    for first, second in combinations(metrics, 2):
        groups = {split: _group(facts["points"], (first, second), metrics) for split, facts in preferences.items()}
        plots.append(trade_offs((f"{first} {metrics[first]}", f"{second} {metrics[second]}"), groups))
    return [intro, *plots, table(*preference_rows(preferences, metrics))]


def _group(points: Sequence[Mapping[str, Any]], pair: tuple[str, str], metrics: Mapping[str, str]) -> Group:
    """The points at which both tasks have a value."""
    spots, joined = [], []
    for point in sorted(points, key=lambda point: float(point["preference"][pair[0]])):
        x, y = (point["metrics"][f"{task}/{metrics[task]}"] for task in pair)
        if x is not None and y is not None:
            spots.append(Spot((x, x, x), (y, y, y), preference_words(point["preference"])))
            joined += spots[-1:] if pair_of(point["preference"], pair) else []
    return Group(spots, joined)
