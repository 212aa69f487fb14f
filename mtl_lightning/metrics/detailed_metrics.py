"""Metrics that the detailed evaluation adds to the metrics of the recipe."""

from mtl_lightning.schema import Task


def detailed_metrics(task: Task, *, grouped: bool) -> tuple[str, ...]:
    """Names of the metrics that the detailed evaluation computes for a task.

    Args:
        task: The task.
        grouped: Whether rows have a group.

    Example:
        >>> detailed_metrics(Task(name="dwell", kind="regression", label="dwell"), grouped=True)
        ('mae', 'rmse', 'xauc', 'ndcg')
    """
    return task.traits.detailed_metrics + (task.traits.group_metrics if grouped else ())
