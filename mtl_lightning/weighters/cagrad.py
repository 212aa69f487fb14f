"""Conflict-averse gradient descent (Liu et al. 2021)."""

from typing import Unpack

import torch
from torch import Tensor

from mtl_lightning.bounds import NonNegativeFloat
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter
from mtl_lightning.weighters.bases.quadratic import minimize, normalized, solve, square_length

ZERO = 1e-4
"""Norm of a combination that counts as zero, with gradients scaled together to a Frobenius norm of 1.

Inner products of float32 gradients cannot distinguish shorter combinations from none.
"""


class CAGrad(GramianWeighter):
    """The direction, within a ball around the mean gradient, that helps the worst task most.

    With the mean gradient ``g_0`` and ``g_w = Σ w_t g_t``, w minimizes ``g_w·g_0 + c |g_0| |g_w|`` over the simplex.
    The update is ``g_0 + c |g_0| g_w / |g_w|``. As ``|g_w| = min_s (|g_w|²/s + s) / 2``, w solves a quadratic
    programme for each s, and the right s is a root in one dimension.

    Args:
        tasks: Names of the tasks.
        c: Radius of the ball relative to the mean gradient. 0 is the mean; 1 and more leads to MGDA.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021,
        equations 3 to 5, algorithm 1.

    Example:
        >>> weights = CAGrad(("a", "b"), c=0.5).weights(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]).double())
        >>> [round(x, 4) for x in weights.tolist()]
        [0.75, 0.75]
    """

    skips_absent = True

    def __init__(self, tasks: tuple[str, ...], *, c: NonNegativeFloat = 0.4, **options: Unpack[GramianOptions]) -> None:
        super().__init__(tasks, **options)
        self.c = c

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights of the update: 1/T each for the mean, plus the scaled w."""
        products = normalized(gramian, 1e-12)
        mean = torch.full((len(gramian),), 1 / len(gramian), dtype=gramian.dtype)
        toward = products @ mean
        length = square_length(products, mean) ** 0.5
        if self.c == 0 or length < ZERO:  # the ball is a point, or the gradients sum to zero
            return mean
        radius = self.c * length
        combination, norm = _combination(products, toward, radius, mean)
        if norm < ZERO:  # no direction helps all tasks: take the point of the ball nearest to zero
            return mean * max(1 - self.c, 0.0)
        weights: Tensor = mean + radius / norm * combination
        return weights


def _combination(products: Tensor, toward: Tensor, radius: float, start: Tensor) -> tuple[Tensor, float]:
    """The w that minimizes ``w·toward + radius |g_w|`` on the simplex, and ``|g_w|``.

    While the set of positive weights stays the same, ``w(s) = p + s q`` with ``g_p ⟂ g_q``, so the root of
    ``|g_w(s)| = s`` is ``s² = |g_p|² / (1 − |g_q|²)``; where the set changes, the root is bracketed.
    """
    low, high = ZERO / 2, float(products.diagonal().max().sqrt())
    norm, weights = max(square_length(products, start) ** 0.5, ZERO), start
    for _ in range(60):
        weights = minimize(products * (radius / norm), toward, total=1.0, start=weights)
        square = square_length(products, weights)
        if abs(square - norm**2) < 1e-12 * norm**2 or high < low * (1 + 1e-12):
            break
        low, high = (norm, high) if square > norm**2 else (low, norm)
        free = weights > 0
        least = torch.zeros_like(weights)
        least[free] = solve(products[free][:, free], torch.ones_like(weights[free]))
        least /= least.sum()
        rest = (weights - least) / norm
        room = 1 - square_length(products, rest)
        root = (square_length(products, least) / room) ** 0.5 if room > 0 else high
        norm = root if low < root < high else (low * high) ** 0.5
    return weights, norm
