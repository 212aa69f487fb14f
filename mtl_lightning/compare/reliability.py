"""How far the probabilities of each configuration of a comparison can be trusted: its section of the page."""

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


def reliability_of(kind: str, found: Sequence[tuple[Rows, Floats]]) -> dict[str, Any] | None:
    """ECE and the points of a reliability plot over the test rows of all seeds; None of a task that isn't binary.

    Args:
        kind: The task's kind.
        found: Rows and predictions of each seed's model.

    Example:
        >>> rows = Rows(np.array([0.0, 1.0]), np.ones(2))
        >>> reliability_of("binary", [(rows, np.array([0.25, 0.75]))])["ece"]
        0.25
    """
    if not task_kind(kind).event_probability:
        return None
    metric = ECE(Task(name="task", kind="binary", label="label"))
    for rows, prediction in found:
        label = torch.from_numpy(np.ascontiguousarray(rows.label)).reshape(-1, 1)
        known = torch.ones(len(label), dtype=torch.bool)
        metric.update(torch.from_numpy(prediction), Target(label, known, torch.from_numpy(rows.weight)))
    distance = float(metric.compute()) if any(len(prediction) for _, prediction in found) else float("nan")
    return {"ece": distance, **metric.points()} if np.isfinite(distance) else None


def reliability_section(result: Mapping[str, Any]) -> str:
    """A plot per binary task of the selected configuration beside the single-task models; nothing without one.

    Args:
        result: The result.
    """
    configurations = {each["name"]: each for each in result["configurations"]}
    shown = [configurations[name] for name in (result["selected"], BASELINE) if name in configurations]
    plots = []
    for task in result["tasks"]:
        curves = {}
        for each in shown:
            points = each["tasks"][task].get("reliability")
            if points:
                curves[f"{shown_name(each)}, ECE {points['ece']:.4f}"] = points
        if curves:
            plots.append(reliability_plot(task, curves))
    if not plots:
        return ""
    return f"""<h2>Reliability</h2>
<p>Observed rates over predicted ones on the test split, all seeds together, in groups of equally many rows. A model
whose points lie on the diagonal can be taken at its word.</p>
{"".join(plots)}
"""
