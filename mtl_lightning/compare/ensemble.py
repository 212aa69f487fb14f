"""Gain of averaging the seeds of the selected configuration, as ``export run=a,b,c`` does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_lightning.compare.bootstrap import Sampled, advantage, sample
from mtl_lightning.compare.statistics import Difference
from mtl_lightning.export.ensemble import average
from mtl_lightning.task_kinds import task_kind


def ensemble_gain(
    runs: Sequence[tuple[Mapping[str, NDArray[Any]], Sampled]], kinds: Mapping[str, str], level: float
) -> dict[str, Difference]:
    """Advantage per task of the average of runs over one of them, with its interval; positive is better.

    The interval includes the bootstrap over test rows and the spread of the single runs. It is about this average:
    averages of other seeds were not measured.

    Args:
        runs: Arrays and metrics of each run's test rows.
        kinds: Kind of each task.
        level: Confidence level.

    Example:
        >>> label = np.tile([0.0, 1.0], 50)
        >>> rows = {"known/t": label >= 0, "label/t": label[:, None]}
        >>> first = {**rows, "prediction/t": np.where(np.arange(100) < 50, label, 0.4)}
        >>> second = {**rows, "prediction/t": np.where(np.arange(100) < 50, 0.4, label)}
        >>> runs = [(run, sample(run, {"t": "binary"}, count=5)) for run in (first, second)]
        >>> round(ensemble_gain(runs, {"t": "binary"}, 0.95)["t"].mean, 6)
        0.125
    """
    first = runs[0][0]
    predictions = {
        f"prediction/{task}": average(
            torch.from_numpy(np.stack([rows[f"prediction/{task}"] for rows, _ in runs])), task_kind(kind)
        ).numpy()
        for task, kind in kinds.items()
    }
    singles = [sampled for _, sampled in runs]
    count = len(next(iter(singles[0].samples.values())))
    averaged = sample({**first, **predictions}, kinds, count)
    return {task: advantage(task, kind, [averaged] * len(runs), singles, level) for task, kind in kinds.items()}


def ensemble_sentence(result: Mapping[str, Any]) -> str:
    """Gain of averaging the seeds, and its cost, in a sentence; empty without at least two seeds.

    Args:
        result: Result of :func:`~mtl_lightning.compare.results.gather`.
    """
    ensemble = result.get("ensemble")
    if not ensemble:
        return ""
    parts = []
    for task, ends in ensemble["tasks"].items():
        metric = result["tasks"][task]["metric"]
        if ends["mean"] is None or ends["low"] is None:
            parts.append(f"{task} {metric} undefined")
        else:
            parts.append(f"{task} {metric} {ends['mean']:+.4f} ({ends['low']:+.4f} to {ends['high']:+.4f})")
    seeds = ensemble["seeds"]
    return (
        f"Average of its {seeds} seeds against one of them, positive is better: {', '.join(parts)}. "
        f"It has {seeds} times the parameters and the arithmetic of a prediction."
    )
