"""Ratio of predicted to observed sums."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight, weighted_sum


class Calibration(TaskMetric):
    """Sum of the predictions over sum of the labels: 1 is calibrated on average, 1.1 predicts 10% too much.

    Args:
        task: A binary, regression, count or value task.

    Returns from ``compute``: a scalar; NaN where the labels sum to 0. Neither higher nor lower is better, so it
    cannot enter the overall score.

    Source:
        He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, section 3.

    Example:
        >>> metric = Calibration(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([0.75, 0.75]), target)
        >>> metric.compute().item()
        1.5
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "regression", "soft_binary", "value"})
    higher_is_better = None
    predicted: Tensor
    observed: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add_state("predicted", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("observed", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` is in the unit of the label, [B]."""
        weight = row_weight(target)
        self.predicted += weighted_sum(prediction.detach(), weight)
        self.observed += weighted_sum(target.label[:, 0], weight)

    def compute(self) -> Tensor:
        """The ratio, a scalar."""
        return ratio(self.predicted, self.observed)
