"""Metrics of one task, one per file, exact across processes; and which of them a task has by default.

The classes are reached by name through the registry. This module imports no torch, so that listing stays light.
"""

from mtl_lightning.schema import Task


def default_metrics(task: Task) -> tuple[str, ...]:
    """Names of a task's metrics when the recipe names none; the first counts in the overall score.

    Example:
        >>> default_metrics(Task(name="dwell", kind="regression", label="dwell"))
        ('r2', 'mae', 'rmse')
        >>> default_metrics(Task(name="click", kind="binary", label="click", oracle="p_click"))[-2:]
        ('expected_auc', 'oracle_auc')
    """
    return task.traits.default_metrics + (task.traits.oracle_metrics if task.oracle else ())


__all__ = ["default_metrics"]
