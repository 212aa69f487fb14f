"""Mean negative log-likelihood of binary labels."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target
from mtl_lightning.metrics.row_weights import chance
from mtl_lightning.metrics.sums import MeanMetric


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


class LogLoss(MeanMetric):
    """Mean negative log-likelihood in nats, the mean of -(y log p + (1 - y) log(1 - p)).

    For multilabel tasks it is also averaged over labels.

    Args:
        task: The task; binary, or multilabel with predictions [B, K].

    Returns from ``compute``: a scalar ≥ 0; NaN without known rows, or with a prediction that is
    NaN or outside [0, 1].

    Example:
        >>> from mtl_lightning.interfaces import Task
        >>> metric = LogLoss(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> metric.update(torch.tensor([0.5, 0.9]), target)
        >>> round(metric.compute().item(), 4)
        0.6931
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multilabel", "soft_binary"})
    higher_is_better = False

    def row_values(self, prediction: Tensor, target: Target) -> Tensor:
        """Log-losses; ``prediction`` holds probabilities, [B] or [B, K]."""
        return binary_log_loss(prediction.reshape(target.label.shape), target.label).mean(1)
