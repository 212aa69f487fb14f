"""Metrics on parts of a split. Each part has its own metrics; the labels of all other rows are masked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mtl_lightning.distributed import reduce_sum
from mtl_lightning.interfaces import Schema, Target, TaskMetric
from mtl_lightning.metrics.suite import MetricSuite


class SlicedSuite(nn.Module):
    """The metrics of every task on each of several parts of a split, exact across processes.

    The parts are fixed in advance. ``compute`` is a collective: every process computes every part, including parts of
    which it has seen no row.

    Args:
        schema: Fitted schema.
        metrics: ``{task: {name: metric}}``, copied for each part.
        values: Names of the parts.

    Example:
        >>> from mtl_lightning.schema import Task
        >>> suite = SlicedSuite(Schema((), (Task(name="click", kind="binary", label="click"),)), {}, ["old", "new"])
        >>> target = Target(label=torch.zeros(3, 1), mask=torch.tensor([True, True, False]))
        >>> suite.update({"click": torch.zeros(3)}, {"click": target}, torch.tensor([1, 1, 0]))
        >>> suite.compute()["new"]
        {'rows': {'click': 2}, 'metrics': {}}
    """

    rows: Tensor

    def __init__(self, schema: Schema, metrics: Mapping[str, Mapping[str, TaskMetric]], values: Sequence[str]) -> None:
        super().__init__()
        self.values = tuple(values)
        self.tasks = tuple(task.name for task in schema.tasks)
        self.suites = nn.ModuleList(MetricSuite(schema, metrics) for _ in self.values)
        self.register_buffer("rows", torch.zeros(len(self.values), len(self.tasks), dtype=torch.int64))

    def update(self, predictions: Mapping[str, Tensor], targets: Mapping[str, Target], part: Tensor) -> None:
        """Add a batch.

        Args:
            predictions: Per task.
            targets: Per task.
            part: Index of each row's part, [B]; rows with any other number are ignored.
        """
        for i, suite in enumerate(self.suites):
            inside = part == i
            masked = {task: replace(target, mask=target.mask & inside) for task, target in targets.items()}
            self.rows[i] += torch.stack([masked[task].mask.sum() for task in self.tasks])
            suite.update(predictions, masked)  # type: ignore[operator]

    def compute(self) -> dict[str, dict[str, dict[str, float]]]:
        """``rows`` (known labels per task) and ``metrics`` (as of a suite) of each part, over all processes."""
        rows = reduce_sum(self.rows).tolist()
        return {
            value: {
                "rows": dict(zip(self.tasks, rows[i], strict=True)),
                "metrics": suite.compute(),  # type: ignore[operator]
            }
            for i, (value, suite) in enumerate(zip(self.values, self.suites, strict=True))
        }
