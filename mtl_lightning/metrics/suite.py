"""All metrics of one split, by task name."""

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from mtl_lightning.interfaces import Schema, Target, TaskMetric
from mtl_lightning.metrics.score import overall_score


class MetricSuite(nn.Module):
    """The metrics of every task over one split, and the weighted score.

    Args:
        schema: Fitted schema, for the tasks and their weights in the score.
        metrics: ``{task: {name: metric}}``, copied. The first metric of each task enters the score.

    Example:
        >>> from mtl_lightning.schema import Task
        >>> MetricSuite(Schema((), (Task(name="click", kind="binary", label="click"),)), {}).compute()
        {}
    """

    def __init__(self, schema: Schema, metrics: Mapping[str, Mapping[str, TaskMetric]]) -> None:
        super().__init__()
        self.names = {task: tuple(per_task) for task, per_task in metrics.items()}
        self.weights = {task.name: task.weight for task in schema.tasks}
        self.metrics = nn.ModuleList(copy.deepcopy(m) for per_task in metrics.values() for m in per_task.values())

    def by_task(self) -> dict[str, dict[str, TaskMetric]]:
        """The metrics by task and name."""
        flat = iter(self.metrics)
        return {task: {name: next(flat) for name in names} for task, names in self.names.items()}  # type: ignore[misc]

    def update(self, predictions: Mapping[str, Tensor], targets: Mapping[str, Target]) -> None:
        """Add a batch."""
        for task, metrics in self.by_task().items():
            for metric in metrics.values():
                metric.update(predictions[task], targets[task])

    def compute(self) -> dict[str, float]:
        """``{"click/auc": …, "score": …}`` over all processes."""
        values = {
            task: {name: float(metric.compute()) for name, metric in metrics.items()}
            for task, metrics in self.by_task().items()
        }
        flat = {f"{task}/{name}": value for task, named in values.items() for name, value in named.items()}
        if flat:
            first = {task: next(iter(named.values())) for task, named in values.items() if named}
            lower = {task for task, ms in self.by_task().items() if ms and not next(iter(ms.values())).higher_is_better}
            flat["score"] = overall_score(first, self.weights, lower)
        return flat

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.metrics:
            metric.reset()  # type: ignore[operator]
