"""Log-loss relative to the log-loss of the base rate."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target
from mtl_lightning.metrics.binary.log_loss import binary_log_loss
from mtl_lightning.metrics.row_weights import ratio, row_weight, weighted_sum
from mtl_lightning.metrics.sums import SumMetric


class NormalizedEntropy(SumMetric):
    """Log-loss divided by the entropy of the labels' base rate: below 1 is better than predicting the base rate.

    Args:
        task: A binary task.

    Returns from ``compute``: a scalar ≥ 0; NaN with one class only, without known rows, or with
    a prediction that is NaN or outside [0, 1].

    Source:
        He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, equation 1.

    Example:
        >>> from mtl_lightning.interfaces import Task
        >>> metric = NormalizedEntropy(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([0.5, 0.5]), target)
        >>> metric.compute().item()
        1.0
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "soft_binary"})
    higher_is_better = False
    sums = ("loss", "positive", "weight")
    loss: Tensor
    positive: Tensor
    weight: Tensor

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B]."""
        weight, label = row_weight(target), target.label[:, 0]
        self.loss += weighted_sum(binary_log_loss(prediction, label), weight)
        self.positive += weighted_sum(label, weight)
        self.weight += weight.sum()

    def compute(self) -> Tensor:
        """The ratio, a scalar."""
        rate = ratio(self.positive, self.weight)
        entropy = torch.special.entr(rate) + torch.special.entr(1 - rate)
        return ratio(self.loss, self.weight * entropy)
