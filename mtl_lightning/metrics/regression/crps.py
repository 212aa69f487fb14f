"""Continuous ranked probability score."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Target
from mtl_lightning.metrics.sums import MeanMetric


class CRPS(MeanMetric):
    """Mean continuous ranked probability score, in the unit of the label: the error of a predicted distribution.

    For quantiles q at equally spaced levels α it is 2 mean_α max(α (y − q_α), (α − 1) (y − q_α)). A head without
    quantiles predicts a single point, whose score is the absolute error.

    Args:
        task: A regression, count or value task.

    Returns from ``compute``: a scalar ≥ 0; NaN without known rows.

    Source:
        Gneiting & Ranjan, "Comparing Density Forecasts Using Threshold- and Quantile-Weighted Scoring Rules", Journal
        of Business & Economic Statistics 29, 2011, equation 8.

    Example:
        >>> from mtl_lightning.interfaces import Task
        >>> metric = CRPS(Task(name="spend", kind="value", label="spend"))
        >>> details = {"quantiles": torch.tensor([[1.0, 4.0]]), "levels": torch.tensor([[0.25, 0.75]])}
        >>> metric.update(torch.tensor([2.5]), Target(label=torch.tensor([[2.0]]), mask=torch.tensor([True]),
        ...                                           details=details))
        >>> metric.compute().item()
        0.75
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"count", "regression", "value"})
    higher_is_better = False

    def row_values(self, prediction: Tensor, target: Target) -> Tensor:
        """Scores, [B]."""
        quantiles, levels = quantiles_of(prediction, target)
        distance = target.label.to(torch.float64) - quantiles
        return 2 * torch.maximum(levels * distance, (levels - 1) * distance).mean(1)


def quantiles_of(prediction: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Quantiles and levels of the rows, both [B, Q] float64; a prediction without them is the median of a point."""
    point = prediction.to(torch.float64).unsqueeze(1)
    details = target.details
    if "quantiles" not in details:
        return point, torch.full_like(point, 0.5)
    return details["quantiles"].detach().to(torch.float64), details["levels"].to(torch.float64)
