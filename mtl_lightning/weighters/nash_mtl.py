"""Multi-task learning as a bargaining game (Navon et al. 2022)."""

from typing import Unpack

import torch
from torch import Tensor

from mtl_lightning.weighters.bases.bargaining import bargain
from mtl_lightning.weighters.bases.gramian import GramianWeighter, Scope, SeamOptions


class NashMTL(GramianWeighter):
    """The Nash bargaining solution: weights with ``(Gw)_i = 1 / w_i``.

    G is first scaled to Frobenius norm 1, and the weights are then scaled to sum to T. The solution's own scale is the
    scale of ``1 / |g|``, so that losses of several hundreds would give weights near zero. Newton's method solves the
    equation exactly.

    Args:
        tasks: Names of the tasks.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, claim 3.1 and section 3.2. The paper
        solves a sequence of convex approximations and bounds the norm of the update; here the solution is exact.

    Example:
        >>> weights = NashMTL(("a", "b")).weights(torch.diag(torch.tensor([1.0, 16.0])).double())
        >>> round(float(weights[0] / weights[1]), 4)
        4.0
    """

    skips_absent = True

    def __init__(
        self, tasks: tuple[str, ...], *, scope: Scope = "encoder", rescale: bool = True, **options: Unpack[SeamOptions]
    ) -> None:
        super().__init__(tasks, scope=scope, rescale=rescale, **options)

    def weights(self, gramian: Tensor) -> Tensor:
        """The bargaining solution for G of Frobenius norm 1."""
        return bargain(gramian / torch.linalg.norm(gramian), 1.0)
