"""Ratio of predicted to observed sums."""

from typing import ClassVar

from torch import Tensor

from mtl_lightning.interfaces import Target
from mtl_lightning.metrics.row_weights import ratio, row_weight, weighted_sum
from mtl_lightning.metrics.sums import SumMetric


class Calibration(SumMetric):
    """Sum of the predictions over sum of the labels: 1 is calibrated on average, 1.1 predicts 10% too much.

    Args:
        task: A binary, regression, count or value task.

    Returns from ``compute``: a scalar; NaN where the labels sum to 0. Neither higher nor lower is better, so it
    cannot enter the overall score.

    Source:
        He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, section 3.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Task
        >>> metric = Calibration(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([0.75, 0.75]), target)
        >>> metric.compute().item()
        1.5
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "count", "regression", "soft_binary", "value"})
    higher_is_better = None
    sums = ("predicted", "observed")
    predicted: Tensor
    observed: Tensor

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` is in the unit of the label, [B]."""
        weight = row_weight(target)
        self.predicted += weighted_sum(prediction.detach(), weight)
        self.observed += weighted_sum(target.label[:, 0], weight)

    def compute(self) -> Tensor:
        """The ratio, a scalar."""
        return ratio(self.predicted, self.observed)
