"""The score that selects the best model: the weighted average of the tasks' first metrics."""

import math
from collections.abc import Collection, Mapping


def overall_score(
    values: Mapping[str, float], weights: Mapping[str, float], lower_is_better: Collection[str] = ()
) -> float:
    """Weighted average over tasks of each task's first metric; higher is better.

    A task whose metric is NaN (undefined, because the split has one class only or no known row) is left out, and the
    weights of the others are rescaled to sum to 1. Scores of two epochs are comparable, because they are computed on
    the same rows and leave out the same tasks. Scores of two data sets may not be.

    Args:
        values: First metric of each task, equal on all processes.
        weights: ``Task.weight`` of the same tasks, ≥ 0; a task of weight 0 does not count.
        lower_is_better: Tasks whose first metric is an error, which counts with a minus sign. No default first metric
            is an error.

    Returns:
        The score; NaN if no task with a positive weight has a value.

    Example:
        >>> overall_score({"click": 0.75, "like": 0.5, "buy": float("nan")}, {"click": 3, "like": 1, "buy": 9})
        0.6875
    """
    counted = {task: weights[task] for task, value in values.items() if weights[task] > 0 and not math.isnan(value)}
    if not counted:
        return math.nan
    signed = sum(
        weight * (-values[task] if task in lower_is_better else values[task]) for task, weight in counted.items()
    )
    return float(signed / sum(counted.values()))
