"""Which metrics the closer look after a test takes besides those that a recipe names."""

from mtl_lightning.schema import Task

SCALE = ("mae", "rmse", "xauc")
DETAILED_METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "pr_auc", "log_loss", "normalized_entropy", "calibration", "ece"),
    "count": SCALE,
    "multiclass": ("accuracy", "macro_f1", "multiclass_log_loss"),
    "multilabel": ("auc", "pr_auc", "log_loss"),
    "ordinal": SCALE,
    "regression": SCALE,
    "value": (*SCALE, "calibration"),
}
"""Task kind → names of its metrics."""

GROUP_METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("gauc", "ndcg", "recall_at_k"),
    **dict.fromkeys(("count", "ordinal", "regression", "value"), ("ndcg",)),
}
"""Task kind → names of the metrics added when rows have a group (``data.group``)."""


def detailed_metrics(task: Task, *, grouped: bool) -> tuple[str, ...]:
    """Names of the metrics that a closer look at a task takes.

    Args:
        task: The task.
        grouped: Whether rows have a group.

    Example:
        >>> detailed_metrics(Task(name="dwell", kind="regression", label="dwell"), grouped=True)
        ('mae', 'rmse', 'xauc', 'ndcg')
    """
    return DETAILED_METRICS[task.kind] + (GROUP_METRICS.get(task.kind, ()) if grouped else ())
