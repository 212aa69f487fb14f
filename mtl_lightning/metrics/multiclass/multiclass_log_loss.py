"""Mean negative log-likelihood of classes."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target
from mtl_lightning.metrics.row_weights import chance
from mtl_lightning.metrics.sums import MeanMetric


class MulticlassLogLoss(MeanMetric):
    """Mean of -log of the predicted probability of the true class, in nats.

    Args:
        task: A multiclass task with predictions [B, classes] and the class index as label.

    Returns from ``compute``: a scalar ≥ 0; NaN without known rows, or with a prediction that is
    NaN or outside [0, 1].

    Example:
        >>> from mtl_lightning.interfaces import Task
        >>> metric = MulticlassLogLoss(Task(name="topic", kind="multiclass", label="topic", classes=3))
        >>> target = Target(label=torch.tensor([[2.0]]), mask=torch.ones(1, dtype=torch.bool))
        >>> metric.update(torch.tensor([[0.2, 0.3, 0.5]]), target)
        >>> round(metric.compute().item(), 4)
        0.6931
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    higher_is_better = False

    def row_values(self, prediction: Tensor, target: Target) -> Tensor:
        """Log-losses; ``prediction`` holds probabilities, [B, classes], and is clipped as in the binary log-loss."""
        eps = torch.finfo(torch.promote_types(prediction.dtype, torch.float32)).eps
        broken = chance(prediction).isnan().any(1)
        likelihood = prediction.gather(1, target.label.to(torch.int64))[:, 0].to(torch.float64)
        return -torch.where(broken, torch.nan, likelihood).clamp(eps, 1 - eps).log()
