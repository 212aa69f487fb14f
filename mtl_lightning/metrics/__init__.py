"""Metrics of one task, exact across processes, and the default metrics of each kind of task.

Each registered metric is a file of its own, in the folder of its kind:

- ``binary/``: predicted probabilities. AUC and its variants, log-loss, calibration.
- ``counting/``: decisions at a threshold. Precision, recall, F1.
- ``multiclass/``: predicted classes. Accuracy, macro F1, log-loss.
- ``ranking/``: order within groups (users). GAUC, NDCG, recall at k.
- ``regression/``: predictions on a scale. Errors, R², XAUC.

The registry resolves metric names to classes. This module does not import torch, so listing names stays fast.
"""

from mtl_lightning.schema import Task


def default_metrics(task: Task) -> tuple[str, ...]:
    """Names of a task's metrics if the recipe names none; the first one enters the overall score.

    Example:
        >>> default_metrics(Task(name="dwell", kind="regression", label="dwell"))
        ('r2', 'mae', 'rmse')
        >>> default_metrics(Task(name="click", kind="binary", label="click", oracle="p_click"))[-2:]
        ('expected_auc', 'oracle_auc')
    """
    return task.traits.default_metrics + (task.traits.oracle_metrics if task.oracle else ())


__all__ = ["default_metrics"]
