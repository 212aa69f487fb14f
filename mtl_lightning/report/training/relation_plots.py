"""Relations between tasks as plots for pages; averages of several runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_lightning.report.render.heatmap import Matrix, heatmap, largest
from mtl_lightning.report.render.html import table
from mtl_lightning.report.training.relations import by_width, experts

SPLITS = ("test", "validation")
"""Splits from which relations of outputs are read: the first one that a run has."""


def average(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Relations of a configuration, averaged over seeds; None where no seed has a value.

    Args:
        runs: ``relations`` of each run's ``metrics.json``; empty ones are left out.

    Example:
        >>> pair = {"tasks": ["click", "hide"], "cosine": -0.5, "conflicting": 1.0, "steps": 4}
        >>> other = {**pair, "cosine": -0.3}
        >>> average([{"pairs": [pair]}, {"pairs": [other]}, {}])["gradients"]["cosine"]
        [[1.0, -0.4], [-0.4, 1.0]]
    """
    averages: dict[str, Any] = {}
    for kind in ("labels", "predictions"):
        parts = [part for run in runs if (part := _read_split(run, kind)) and len(part["tasks"]) > 1]
        if parts:
            averages[kind] = {
                "tasks": parts[0]["tasks"],
                **{key: _mean([part[key] for part in parts]) for key in ("correlation", "covariance")},
            }
    pairs = [run["pairs"] for run in runs if run.get("pairs")]
    if pairs:
        averages["gradients"] = _gradients(pairs)
    affinities = [run["affinity"] for run in runs if run.get("affinity")]
    if affinities:
        relative = _mean([part["relative"] for part in affinities])
        averages["affinity"] = {"tasks": affinities[0]["tasks"], "relative": relative}
    gates = [part for run in runs if (part := _read_split(run, "gates"))]
    if gates:
        common = [name for name in gates[0] if all(name in part for part in gates)]
        averages["gates"] = {
            name: {**gates[0][name], "mean": _mean([[part[name]["mean"]] for part in gates])[0]} for name in common
        }
    return averages


def _read_split(run: Mapping[str, Any], kind: str) -> Any:
    parts = run.get(kind, {})
    return next((parts[split] for split in SPLITS if split in parts), None)


def _mean(matrices: Sequence[Matrix]) -> list[list[float | None]]:
    """Elementwise mean over known values."""
    mean: list[list[float | None]] = []
    for rows in zip(*matrices, strict=True):
        known = [[value for value in cell if value is not None] for cell in zip(*rows, strict=True)]
        mean.append([sum(cell) / len(cell) if cell else None for cell in known])
    return mean


def _gradients(runs: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    tasks = list(dict.fromkeys(task for pair in runs[0] for task in pair["tasks"]))

    def to_matrix(pairs: Sequence[Mapping[str, Any]], key: str, diagonal: float | None) -> Matrix:
        values = {frozenset(pair["tasks"]): pair[key] for pair in pairs if pair["steps"]}
        return [[diagonal if a == b else values.get(frozenset((a, b))) for b in tasks] for a in tasks]

    return {
        "tasks": tasks,
        "cosine": _mean([to_matrix(pairs, "cosine", 1.0) for pairs in runs]),
        "conflicting": _mean([to_matrix(pairs, "conflicting", None) for pairs in runs]),
    }


def label_plots(relations: Mapping[str, Any]) -> list[str]:
    """Correlation and covariance of labels; nothing if :func:`average` has none.

    Args:
        relations: Result of :func:`average`.
    """
    if (labels := relations.get("labels")) is None:
        return []
    return [
        heatmap("Correlation of labels", labels["tasks"], labels["tasks"], labels["correlation"]),
        _covariance("Covariance of labels, in their units", labels),
    ]


def relation_plots(relations: Mapping[str, Any]) -> list[str]:
    """Heat maps of predictions, gradients, affinity and gates, as far as they were measured.

    Args:
        relations: Result of :func:`average`.
    """
    titles: Sequence[tuple[str, str, str, float]] = (
        ("predictions", "correlation", "Correlation of predictions", -1.0),
        ("gradients", "cosine", "Cosine of gradients", -1.0),
        ("gradients", "conflicting", "Share of steps in which gradients conflict", 0.0),
        ("affinity", "relative", "Affinity: step on the row's task, loss of the column's", -1.0),
    )
    plots = []
    for kind, key, title, least in titles:
        if kind in relations:
            tasks = relations[kind]["tasks"]
            plots.append(heatmap(title, tasks, tasks, relations[kind][key], least))
            if kind == "predictions":
                plots.append(_covariance("Covariance of predictions", relations[kind]))
    for width, gates in by_width(relations.get("gates", {})).items():
        means = [gate["mean"] for gate in gates.values()]
        plots.append(
            heatmap("Mean weight of experts per gate", list(gates), experts(width), means, 0.0, largest(means))
        )
    return plots


def _covariance(title: str, part: Mapping[str, Any]) -> str:
    """Table of covariances, whose sizes differ too much between pairs of tasks for a colour scale."""
    rows = [
        [name, *(_number(value) for value in row)] for name, row in zip(part["tasks"], part["covariance"], strict=True)
    ]
    return table([title, *part["tasks"]], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else format(value, ",.0f" if abs(value) >= 1000 else ".3g")
