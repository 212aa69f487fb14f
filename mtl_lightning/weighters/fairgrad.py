"""Fair resource allocation (Ban, Ji 2024)."""

from typing import Unpack

import torch  # noqa: F401 - the example
from torch import Tensor

from mtl_lightning.bounds import PositiveFloat
from mtl_lightning.weighters.bases.bargaining import bargain
from mtl_lightning.weighters.bases.gramian import GramianWeighter, Scope, SeamOptions


class FairGrad(GramianWeighter):
    """α-fair weights: ``(Gw)_i = w_i^{−1/α}``.

    α = 1 is proportional fairness (Nash-MTL); large α tends to the fairness of MGDA. The weights are scaled to sum to T
    (``rescale``), since their own scale is a power of the gradients' scale.

    Args:
        tasks: Names of the tasks.
        alpha: Kind of fairness α.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Ban, Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, equation 4, algorithm 1.

    Example:
        >>> weights = FairGrad(("a", "b"), alpha=2.0).weights(torch.diag(torch.tensor([1.0, 8.0])).double())
        >>> [round(x, 4) for x in weights.tolist()]
        [1.0, 0.25]
    """

    skips_absent = True

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        alpha: PositiveFloat = 2.0,
        scope: Scope = "encoder",
        rescale: bool = True,
        **options: Unpack[SeamOptions],
    ) -> None:
        super().__init__(tasks, scope=scope, rescale=rescale, **options)
        self.alpha = alpha

    def weights(self, gramian: Tensor) -> Tensor:
        """The α-fair weights, in the scale of the gradients."""
        return bargain(gramian, 1 / self.alpha)
