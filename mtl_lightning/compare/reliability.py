"""Calibration of the configurations of a comparison: ECE, and the section of its page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mtl_lightning.batch import Target
from mtl_lightning.compare.plan import BASELINE
from mtl_lightning.compare.statistics import Floats, Rows
from mtl_lightning.compare.tables import shown_name
from mtl_lightning.metrics.binary.ece import ECE
from mtl_lightning.report.evaluation.reliability import reliability_plot
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
{"".join(plots)}
"""
