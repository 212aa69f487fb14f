"""Mean negative log-likelihood of binary labels."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import chance, ratio, row_weight, weighted_sum


def binary_log_loss(probability: Tensor, label: Tensor) -> Tensor:
    """Negative log-likelihood of each row in nats, float64.

    Args:
        probability: [B]; clipped to [ε, 1 - ε] with the ε of its dtype (of float32 if that is coarser), NaN outside
            [0, 1].
        label: In [0, 1], [B].
    """
    eps = torch.finfo(torch.promote_types(probability.dtype, torch.float32)).eps
    p = chance(probability).clamp(eps, 1 - eps)
    y = label.to(torch.float64)
    return -(y * p.log() + (1 - y) * (1 - p).log())


class LogLoss(TaskMetric):
    """Mean negative log-likelihood in nats, the mean of -(y log p + (1 - y) log(1 - p)).

    For multilabel tasks it is also averaged over labels.

    Args:
        task: The task; binary, or multilabel with predictions [B, K].

    Returns from ``compute``: a scalar ≥ 0; NaN without known rows, or with a prediction that is
    NaN or outside [0, 1].

    Example:
        >>> metric = LogLoss(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> metric.update(torch.tensor([0.5, 0.9]), target)
        >>> round(metric.compute().item(), 4)
        0.6931
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multilabel", "soft_binary"})
    higher_is_better = False
    loss: Tensor
    weight: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add_state("loss", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B] or [B, K]."""
        weight = row_weight(target)
        loss = binary_log_loss(prediction.reshape(target.label.shape), target.label).mean(1)
        self.loss += weighted_sum(loss, weight)
        self.weight += weight.sum()

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return ratio(self.loss, self.weight)
