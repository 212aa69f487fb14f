"""The fixed point of Nash-MTL and FairGrad: ``(Gw)_i = w_i^−p``."""

import torch
from torch import Tensor


def bargain(gramian: Tensor, power: float, *, ridge: float = 1e-10) -> Tensor:
    """Positive weights w with ``(Gw)_i = w_i^−p``.

    With ``y_i = |g_i| w_i`` and the matrix C of cosines this is ``(Cy)_i = |g_i|^{p−1} y_i^−p``. The solution is the
    minimum of a strictly convex function. Newton's method with backtracking finds it at any scale of the gradients.

    Args:
        gramian: G, [T, T] float64, with a positive diagonal.
        power: p > 0.
        ridge: Added to the diagonal of C, so that opposite gradients have a solution.

    Returns:
        w, [T].

    Example:
        >>> w = bargain(torch.diag(torch.tensor([1.0, 4.0])).double(), 1.0)
        >>> [round(x, 4) for x in w.tolist()]
        [1.0, 0.5]
    """
    norms = gramian.diagonal().sqrt()
    cosines = gramian / (norms[:, None] * norms) + ridge * torch.eye(len(gramian), dtype=gramian.dtype)
    pull = norms ** (power - 1)

    def potential(point: Tensor) -> Tensor:
        inner = -point.log() if power == 1 else -(point ** (1 - power)) / (1 - power)
        return 0.5 * point @ cosines @ point + (pull * inner).sum()

    point = pull ** (1 / (1 + power))  # the solution for orthogonal gradients
    for _ in range(100):
        slope = cosines @ point - pull * point**-power
        curvature = cosines + torch.diag(power * pull * point ** (-power - 1))
        move = -torch.linalg.solve(curvature, slope)
        decrement = -float(slope @ move)
        if decrement < 1e-24 * float(pull.mean()):
            break
        length, value = 1.0, potential(point)
        while length > 1e-12 and (
            bool((point + length * move <= 0).any())
            or float(potential(point + length * move))
            > float(value) - 1e-4 * length * decrement + 1e-15 * abs(float(value))
        ):
            length /= 2
        point = point + length * move
    return point / norms
