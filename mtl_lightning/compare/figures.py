"""Plots of a comparison as files for papers, drawn by Matplotlib."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_lightning.compare.front import pareto_front
from mtl_lightning.compare.plan import BASELINE
from mtl_lightning.compare.preferences import preference_groups
from mtl_lightning.compare.tables import shown_name
from mtl_lightning.errors import MtlError
from mtl_lightning.export.extras import need
from mtl_lightning.report.render.svg import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAIN, LOSS, EVEN = "#2f8f57", "#cf4a41", "#7c8494"
SETTINGS = {"font.size": 9, "svg.hashsalt": "mtl-lightning", "pdf.fonttype": 42, "axes.spines.top": False}
"""Style of all plots; text stays text in PDF, and equal results give equal files."""
DATES = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
"""Metadata that would make two files of the same plot differ, left out."""


def write_figures(result: Mapping[str, Any], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write all plots of a comparison in all formats; return the files.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
        folder: Folder of the files.
        formats: ``svg``, ``pdf`` and ``png`` (300 dots per inch).

    Raises:
        MtlError: If Matplotlib is not installed, or a file can't be written.
    """
    matplotlib = need("matplotlib", "plots")
    paths = []
    with matplotlib.rc_context(SETTINGS):
        for name, figure in figures(result):
            for kind in formats:
                path = folder / f"{name}.{kind}"
                try:
                    figure.savefig(path, format=kind, dpi=300, bbox_inches="tight", metadata=DATES[kind])
                except OSError as error:
                    raise MtlError(f"{path} can't be written: {error.strerror}", "choose another out=") from error
                paths.append(path)
    return paths


def figures(result: Mapping[str, Any]) -> Iterator[tuple[str, "Figure"]]:
    """Plots with their names: advantages, learning curves, fronts, preferences and ranks, if their values are known.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    rivals = [rival for rival in result["configurations"] if rival["name"] != BASELINE]
    if any(rival["delta_m"] is not None for rival in rivals):
        yield "advantage", _advantage(result, rivals)
    if any(configuration.get("learning") for configuration in result["configurations"]):
        yield "learning_curves", _learning(result)
    for number, pair in enumerate(combinations(result["tasks"], 2), 1):
        points = _points(result, pair)
        if len(points) > 1:
            yield f"front{number}", _front(result, pair, points)
    for number, pair in enumerate(combinations(result["tasks"] if result.get("preferences") else (), 2), 1):
        yield f"preferences{number}", _trade_offs(result, pair)
    if result.get("ranks", {}).get("blocks"):
        yield "ranks", _ranks(result)


def _figure(width: float, height: float) -> "Figure":
    figure: Figure = need("matplotlib.figure", "plots").Figure(figsize=(width, height), layout="constrained")
    return figure


def _advantage(result: Mapping[str, Any], rivals: Sequence[Mapping[str, Any]]) -> "Figure":
    """Differences from single-task models: Δm of all tasks, and each task in its metric."""
    panels: list[tuple[str, Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]]] = [
        ("Δm, %", lambda rival: (rival["delta_m"], *rival["delta_m_interval"]))
    ]
    for task, facts in result["tasks"].items():
        panels.append((f"{task}: {'fall' if facts['metric'] == 'rmse' else 'rise'} of {facts['metric']}", _of(task)))
    figure = _figure(2.2 * len(panels) + 1.5, 0.28 * len(rivals) + 1.1)
    axes: Sequence[Axes] = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, ends_of) in zip(axes, panels, strict=True):
        ax.axvline(0, color=EVEN, linewidth=0.8, linestyle="--")
        for y, rival in enumerate(rivals):
            mean, low, high = ends_of(rival)
            if mean is None:
                continue
            known = low is not None and high is not None
            color = EVEN if not known else GAIN if low > 0 else LOSS if high < 0 else EVEN
            ax.plot([mean], [y], "o", color=color, markersize=4)
            if known:
                ax.plot([low, high], [y, y], color=color, linewidth=1.5)
        ax.set_title(title, fontsize=9)
    axes[0].set_yticks(range(len(rivals)), [shown_name(rival) for rival in rivals])
    axes[0].invert_yaxis()
    return figure


def _of(task: str) -> Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]:
    def ends(rival: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        difference = rival["tasks"][task]["difference"]
        return difference["mean"], difference["low"], difference["high"]

    return ends


def _learning(result: Mapping[str, Any]) -> "Figure":
    """Validation score by epoch, mean over seeds, with a band of one standard deviation."""
    figure = _figure(5.0, 3.2)
    ax = figure.subplots()
    for configuration in result["configurations"]:
        points = configuration.get("learning") or []
        if points:
            epochs, means, deviations = (list(values) for values in zip(*points, strict=True))
            (line,) = ax.plot(epochs, means, marker=".", label=shown_name(configuration))
            low = [mean - (deviation or 0.0) for mean, deviation in zip(means, deviations, strict=True)]
            high = [mean + (deviation or 0.0) for mean, deviation in zip(means, deviations, strict=True)]
            ax.fill_between(epochs, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set_xlabel("epoch")
    ax.set_ylabel("validation score")
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _points(result: Mapping[str, Any], pair: tuple[str, str]) -> dict[str, tuple[float, float]]:
    points = {}
    for configuration in result["configurations"]:
        values = tuple(configuration["tasks"][task]["mean"] for task in pair)
        if None not in values:
            points[shown_name(configuration)] = (float(values[0]), float(values[1]))
    return points


def _front(result: Mapping[str, Any], pair: tuple[str, str], points: Mapping[str, tuple[float, float]]) -> "Figure":
    """Two tasks against each other, with the configurations that no other one dominates joined."""
    metrics = [result["tasks"][task]["metric"] for task in pair]
    front = pareto_front(points, [metric != "rmse" for metric in metrics])
    figure = _figure(4.4, 3.4)
    ax = figure.subplots()
    for name, (x, y) in points.items():
        ax.plot([x], [y], "o", color=GAIN if name in front else EVEN, markersize=5)
        ax.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
    xs, ys = zip(*sorted(points[name] for name in front), strict=True)
    ax.plot(xs, ys, color=GAIN, linewidth=1)
    ax.set_xlabel(f"{pair[0]} {metrics[0]}")
    ax.set_ylabel(f"{pair[1]} {metrics[1]}")
    return figure


def _trade_offs(result: Mapping[str, Any], pair: tuple[str, str]) -> "Figure":
    """Two tasks along the preferences of each model that reads them, and all other configurations, with intervals."""
    figure = _figure(4.8, 3.8)
    ax = figure.subplots()
    for number, (name, group) in enumerate(preference_groups(result, pair).items()):
        color = COLORS[number % len(COLORS)]
        for x, y, _ in group.spots:
            ax.plot([x[0]], [y[0]], "o", color=color, markersize=4)
            ax.plot([x[1], x[2]], [y[0], y[0]], [x[0], x[0]], [y[1], y[2]], color=color, linewidth=0.8, alpha=0.5)
        if group.joined:
            joined = [(spot.x[0], spot.y[0]) for spot in group.joined]
            ax.plot(*zip(*joined, strict=True), color=color, linewidth=1, label=name)
        else:
            for x, y, _ in group.spots:
                ax.annotate(name, (x[0], y[0]), xytext=(4, 4), textcoords="offset points", fontsize=7)
    ax.set_xlabel(f"{pair[0]} {result['tasks'][pair[0]]['metric']}")
    ax.set_ylabel(f"{pair[1]} {result['tasks'][pair[1]]['metric']}")
    figure.legend(loc="outside upper center", fontsize=8, frameon=False)
    return figure


def _ranks(result: Mapping[str, Any]) -> "Figure":
    """Critical-difference diagram: mean ranks, with bars over configurations that do not differ."""
    ranks = result["ranks"]
    mean, bars = ranks["mean"], ranks["alike"]
    names = {configuration["name"]: shown_name(configuration) for configuration in result["configurations"]}
    figure = _figure(6.0, 0.25 * len(mean) + 0.14 * len(bars) + 0.7)
    ax = figure.subplots()
    ax.set_xlim(len(mean) + 0.15, 0.85)
    depth = 0.25 * len(bars)
    for i, (name, value) in enumerate(mean.items()):
        left = i >= (len(mean) + 1) // 2  # the better half is named on the right, where rank 1 is
        y = -depth - 0.6 - 0.5 * (len(mean) - 1 - i if left else i)
        edge = len(mean) + 0.1 if left else 0.9
        ax.plot([value, value, edge], [0, y, y], color="#444", linewidth=0.9, clip_on=False)
        side = "right" if left else "left"
        ax.text(edge, y, f" {names[name]} {value:.2f} ", ha=side, va="center", fontsize=8)
    for i, group in enumerate(bars):
        ax.plot([mean[group[0]], mean[group[-1]]], [-0.25 * (i + 1)] * 2, color=EVEN, linewidth=3)
    ax.xaxis.tick_top()
    ax.spines[["left", "right", "bottom"]].set_visible(False)
    ax.spines["top"].set_visible(True)
    ax.set_yticks([])
    ax.set_ylim(-depth - 0.6 - 0.5 * ((len(mean) + 1) // 2), 0)
    ax.set_title(f"Mean rank over {ranks['blocks']} pairs of a task and a seed", fontsize=9)
    return figure
