"""Geometric loss strategy (Chennupati et al. 2019)."""

import torch
from torch import Tensor

from mtl_lightning.weighters.bases.loss_based import LossWeighter
from mtl_lightning.weighters.bases.negative import LEFT_OUT, NegativeLosses


class GLS(LossWeighter):
    """The geometric mean of the losses, ``(Π L_t)^{1/T}``, which does not depend on their scales.

    Its gradient equals the gradient of ``Σ w_t L_t`` with ``w_t = (Π L_s)^{1/T} / (T L_t)``. Losses must be positive.
    Tasks whose loss is zero in a batch (no labels) or negative take no part in it.

    Args:
        tasks: Names of the tasks.

    Source:
        Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for Multi-Task
        Learning", CVPR workshops 2019, equation 2.

    Example:
        >>> [round(x, 3) for x in GLS(("a", "b")).weights(torch.tensor([1.0, 4.0]).double()).tolist()]
        [1.0, 0.25]
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__(tasks)
        self._negative = NegativeLosses("gls", self.tasks, LEFT_OUT)

    def weights(self, values: Tensor) -> Tensor:
        """The derivative of the geometric mean by each loss."""
        self._negative.check(values)
        present = values > 0
        safe = torch.where(present, values, 1.0)
        count = present.sum().clamp_min(1)
        return torch.where(present, (safe.log().sum() / count).exp() / (count * safe), 0.0)
