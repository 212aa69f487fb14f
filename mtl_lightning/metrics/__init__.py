"""Metrics of one task, one per file, exact across processes; and which of them a task has by default.

The classes are reached by name through the registry. This module imports no torch, so that listing stays light.
"""

from mtl_lightning.schema import Task

DEFAULT_METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "normalized_entropy", "calibration"),
    "count": ("r2", "mae", "calibration"),
    "multiclass": ("accuracy", "macro_f1", "multiclass_log_loss"),
    "multilabel": ("auc", "log_loss"),
    "ordinal": ("xauc", "mae"),
    "regression": ("r2", "mae", "rmse"),
    "value": ("xauc", "mae", "calibration"),
}
"""Task kind → names of its metrics. The first one counts in the overall score, and a higher value of it is better."""

ORACLE_METRICS: dict[str, tuple[str, ...]] = dict.fromkeys(("binary", "multilabel"), ("expected_auc", "oracle_auc"))
"""Task kind → names of the metrics added when the task's true expectation is known (``oracle``)."""


def default_metrics(task: Task) -> tuple[str, ...]:
    """Names of a task's metrics when the recipe names none; the first counts in the overall score.

    Example:
        >>> default_metrics(Task(name="dwell", kind="regression", label="dwell"))
        ('r2', 'mae', 'rmse')
        >>> default_metrics(Task(name="click", kind="binary", label="click", oracle="p_click"))[-2:]
        ('expected_auc', 'oracle_auc')
    """
    return DEFAULT_METRICS[task.kind] + (ORACLE_METRICS.get(task.kind, ()) if task.oracle else ())


__all__ = ["DEFAULT_METRICS", "ORACLE_METRICS", "default_metrics"]
