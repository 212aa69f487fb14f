"""Calibration of the configurations of a comparison: ECE, log loss as it is and calibrated, and the page's section."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mtl_lightning.batch import Target
from mtl_lightning.compare.plan import BASELINE
from mtl_lightning.compare.statistics import Floats, Rows
from mtl_lightning.compare.tables import number, shown_name
from mtl_lightning.export.formula import calibrate
from mtl_lightning.metrics.binary.ece import ECE
from mtl_lightning.metrics.binary.log_loss import binary_log_loss
from mtl_lightning.report.evaluation.reliability import reliability_plot
from mtl_lightning.report.render.html import table
from mtl_lightning.schema import Task
from mtl_lightning.task_kinds import task_kind


def reliability_of(kind: str, models: Sequence[tuple[Rows, Floats]]) -> dict[str, Any] | None:
    """ECE and points of a reliability plot over the test rows of all seeds; None for tasks that are not binary.

    Args:
        kind: Kind of the task.
        models: Rows and predictions of each seed's model.

    Example:
        >>> rows = Rows(np.array([0.0, 1.0]), np.ones(2))
        >>> reliability_of("binary", [(rows, np.array([0.25, 0.75]))])["ece"]
        0.25
    """
    if not task_kind(kind).event_probability:
        return None
    metric = ECE(Task(name="task", kind="binary", label="label"))
    for rows, prediction in models:
        label = torch.from_numpy(np.ascontiguousarray(rows.label)).reshape(-1, 1)
        known = torch.ones(len(label), dtype=torch.bool)
        metric.update(torch.from_numpy(prediction), Target(label, known, torch.from_numpy(rows.weight)))
    distance = float(metric.compute()) if any(len(prediction) for _, prediction in models) else float("nan")
    return {"ece": distance, **metric.points()} if np.isfinite(distance) else None


def log_losses(kind: str, models: Sequence[tuple[Rows, Floats, Floats | None]]) -> dict[str, float | None] | None:
    """Mean log loss of the test rows over seeds; None for tasks that are not binary.

    Args:
        kind: Kind of the task.
        models: Rows and predictions of each seed's model, and its ``a`` and ``b`` of Platt scaling, fitted on
            validation rows; None where a run has none.

    Returns:
        ``plain``, and ``calibrated`` by the scaling; None where undefined, or where a seed has no scaling.

    Example:
        >>> rows = Rows(np.array([0.0, 1.0]), np.ones(2))
        >>> halves = log_losses("binary", [(rows, np.array([0.5, 0.5]), np.array([1.0, 0.0]))])
        >>> halves["plain"] == halves["calibrated"], round(halves["plain"], 4)
        (True, 0.6931)
    """
    if not task_kind(kind).event_probability:
        return None
    plain = [_log_loss(rows, prediction) for rows, prediction, _ in models]
    scaled = [
        math.nan if scaling is None else _log_loss(rows, calibrate(prediction, {"a": scaling[0], "b": scaling[1]}))
        for rows, prediction, scaling in models
    ]
    means = {"plain": np.mean(plain), "calibrated": np.mean(scaled)}
    return {name: float(mean) if np.isfinite(mean) else None for name, mean in means.items()}


def _log_loss(rows: Rows, prediction: Floats) -> float:
    losses = binary_log_loss(torch.from_numpy(prediction), torch.from_numpy(rows.label).reshape(-1)).numpy()
    total = float(rows.weight.sum())
    return float(rows.weight @ losses) / total if total > 0 else math.nan


def reliability_section(result: Mapping[str, Any]) -> str:
    """HTML section with a plot per binary task: the selected configuration and the single-task models.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.

    Returns:
        The section; empty without a binary task.
    """
    configurations = {configuration["name"]: configuration for configuration in result["configurations"]}
    shown = [configurations[name] for name in (result["selected"], BASELINE) if name in configurations]
    plots = []
    for task in result["tasks"]:
        curves = {}
        for configuration in shown:
            points = configuration["tasks"][task].get("reliability")
            if points:
                curves[f"{shown_name(configuration)}, ECE {points['ece']:.4f}"] = points
        if curves:
            plots.append(reliability_plot(task, curves))
    if not plots:
        return ""
    return f"""<h2>Reliability</h2>
<p>Observed against predicted rates on the test split, all seeds together, in groups of equally many rows. The points
of a calibrated model are on the diagonal.</p>
{"".join(plots)}{_log_loss_table(result)}
"""


def _log_loss_table(result: Mapping[str, Any]) -> str:
    """Log loss of each binary task, plain and calibrated; empty for results of runs without it."""
    own = [configuration["tasks"] for configuration in result["configurations"]]
    tasks = [task for task in result["tasks"] if any(tasks[task].get("log_loss") for tasks in own)]
    if not tasks:
        return ""
    headings = [f"{task}{words}" for task in tasks for words in ("", ", calibrated")]
    rows = [
        [shown_name(configuration)]
        + [
            number((configuration["tasks"][task]["log_loss"] or {}).get(name))
            for task in tasks
            for name in ("plain", "calibrated")
        ]
        for configuration in result["configurations"]
    ]
    return f"""<p>Log loss on the test split, mean over seeds: of the predictions as they are, and after Platt scaling
that was fitted on the validation split.</p>
{table(["configuration", *headings], rows)}"""
