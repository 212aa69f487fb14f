"""Conflict-averse gradient descent (Liu et al. 2021)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from mtl_lightning.weighters.gramian import GramianWeighter
from mtl_lightning.weighters.quadratic import minimize, normalized


class CAGrad(GramianWeighter):
    """The direction within a ball around the mean gradient that helps the worst task most.

    With the mean gradient ``g_0`` and ``g_w = Σ w_t g_t``, w minimizes ``g_w·g_0 + c |g_0| |g_w|`` over the simplex,
    and the update is ``g_0 + c |g_0| g_w / |g_w|``. As ``|g_w| = min_s (|g_w|²/s + s) / 2``, w solves a quadratic
    programme for each s, and the right s is a root in one dimension.

    Args:
        tasks: Names of the tasks.
        c: Radius of the ball in terms of the mean gradient: 0 is the mean, 1 and more leads to MGDA.
        every: Steps between computations of the weights; this and what follows is explained in
            :class:`~mtl_lightning.weighters.gramian.GramianWeighter`.
        scope: What the weights apply to.
        rescale: Whether the weights are scaled to sum to the number of tasks.
        gradients_at: Where gradients are taken.

    Source:
        Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021,
        equations 3 to 5, algorithm 1.

    Example:
        >>> weights = CAGrad(("a", "b"), c=0.5).weights(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]).double())
        >>> [round(x, 4) for x in weights.tolist()]
        [0.75, 0.75]
    """

    skips_absent = True

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        c: float = 0.4,
        every: int = 1,
        scope: Literal["encoder", "model"] = "encoder",
        rescale: bool = False,
        gradients_at: str = "seam",
    ) -> None:
        super().__init__(tasks, every=every, scope=scope, rescale=rescale, gradients_at=gradients_at)
        self.c = c

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights of the update: those of the mean, 1/T each, plus the scaled w."""
        products = normalized(gramian, 1e-12)
        mean = torch.full((len(gramian),), 1 / len(gramian), dtype=gramian.dtype)
        toward = products @ mean
        radius = self.c * (mean @ toward).sqrt()
        if self.c == 0:
            return mean
        combination = mean

        def excess(log_norm: float) -> float:
            nonlocal combination
            hessian = products * (radius * torch.tensor(-log_norm, dtype=gramian.dtype).exp())
            scale = hessian.diagonal().max()
            combination = minimize(hessian / scale, toward / scale, total=1.0, start=combination)
            return float((combination @ products @ combination).log()) - 2 * log_norm

        low, high = -12.0, float(products.diagonal().max().log()) / 2 + 1e-9
        if excess(low) <= 0:  # g_w = 0: no direction helps all
            return mean * max(1 - self.c, 0.0)
        _root(excess, low, high)
        norm = (combination @ products @ combination).sqrt()
        return mean + radius / norm * combination


def _root(function: Callable[[float], float], low: float, high: float) -> None:
    """Call a falling function until its root between ``low`` and ``high`` is found (the Illinois method)."""
    at_low, at_high = function(low), function(high)
    side = 0
    for _ in range(60):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        at_middle = function(middle)
        if abs(at_middle) < 1e-13 or high - low < 1e-14:
            return
        if at_middle > 0:
            low, at_low = middle, at_middle
            at_high, side = (at_high / 2 if side > 0 else at_high), 1
        else:
            high, at_high = middle, at_middle
            at_low, side = (at_low / 2 if side < 0 else at_low), -1
