"""Share of labels inside the predicted interval."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Share, Target, Task
from mtl_lightning.metrics.regression.crps import quantiles_of
from mtl_lightning.metrics.sums import MeanMetric


class Coverage(MeanMetric):
    """Share of the labels that are inside the central interval of a predicted distribution.

    The interval reaches from the quantile at (1 − ``level``) / 2 to the one at (1 + ``level``) / 2, both interpolated
    between the head's levels. Calibrated quantiles have a coverage of ``level``. A head without quantiles predicts a
    point, whose interval holds only labels equal to it.

    Args:
        task: A regression, count or value task.
        level: Share of the labels that the interval should hold.

    Returns from ``compute``: a scalar in [0, 1]; NaN without known rows, or with a NaN prediction.

    Example:
        >>> metric = Coverage(Task(name="spend", kind="value", label="spend"), level=0.5)
        >>> details = {"quantiles": torch.tensor([[1.0, 4.0]] * 2), "levels": torch.tensor([[0.25, 0.75]] * 2)}
        >>> known = torch.tensor([True, True])
        >>> target = Target(label=torch.tensor([[2.0], [9.0]]), mask=known, details=details)
        >>> metric.update(torch.tensor([2.5, 2.5]), target)
        >>> metric.compute().item()
        0.5
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"count", "regression", "value"})
    higher_is_better = None

    def __init__(self, task: Task, *, level: Share = 0.8) -> None:
        super().__init__(task)
        self.level = level

    def row_values(self, prediction: Tensor, target: Target) -> Tensor:
        """1 for labels inside the interval, otherwise 0; NaN where the prediction is NaN, [B]."""
        quantiles, levels = quantiles_of(prediction, target)
        low, high = (_at(quantiles, levels, (1 + sign * self.level) / 2) for sign in (-1, 1))
        label = target.label[:, 0].to(torch.float64)
        inside = ((low <= label) & (label <= high)).to(torch.float64)
        return torch.where(low.isnan() | high.isnan() | prediction.isnan(), torch.nan, inside)


def _at(quantiles: Tensor, levels: Tensor, level: float) -> Tensor:
    """Quantile at a level, linear between the given levels and flat outside, [B]."""
    above = (levels < level).sum(1, keepdim=True).clamp(max=levels.shape[1] - 1)
    below = (above - 1).clamp(min=0)
    start, stop = levels.gather(1, below), levels.gather(1, above)
    share = torch.where(stop > start, (level - start) / (stop - start), 0.0).clamp(0, 1)
    return torch.lerp(quantiles.gather(1, below), quantiles.gather(1, above), share)[:, 0]
