"""Exact solvers of small quadratic programmes over weights, in float64."""

import torch
from torch import Tensor


def normalized(gramian: Tensor, ridge: float = 0.0) -> Tensor:
    """A Gramian scaled to trace 1, with ``ridge`` added to its diagonal; zero stays zero except for the ridge.

    Inner products of float32 gradients may form a matrix with eigenvalues down to -1e-7, which no set of gradients has.
    It is replaced by the nearest positive semi-definite matrix.
    """
    trace = gramian.diagonal().sum()
    scaled = gramian / trace if float(trace) > 0 else torch.zeros_like(gramian)
    values, vectors = torch.linalg.eigh(scaled)
    if float(values[0]) < 0:
        scaled = (vectors * values.clamp_min(0)) @ vectors.T
    return scaled + ridge * torch.eye(len(gramian), dtype=gramian.dtype)


def square_length(gramian: Tensor, weights: Tensor) -> float:
    """``|Σ w_t g_t|²``, at least 0 whatever the rounding.

    Example:
        >>> square_length(torch.tensor([[1.0, -1.0], [-1.0, 1.0 - 1e-9]]).double(), torch.tensor([0.5, 0.5]).double())
        0.0
    """
    return max(float(weights @ gramian @ weights), 0.0)


def solve(system: Tensor, right: Tensor) -> Tensor:
    """The solution of a square system; for a singular one, the least-squares solution of least norm.

    Example:
        >>> [round(x, 6) for x in solve(torch.ones(2, 2).double(), torch.ones(2).double()).tolist()]
        [0.5, 0.5]
    """
    solution: Tensor
    solution, failed = torch.linalg.solve_ex(system, right)
    if int(failed) or not bool(torch.isfinite(solution).all()):
        solution = torch.linalg.lstsq(system, right.unsqueeze(1), driver="gelsd").solution[:, 0]
    return solution


def minimize(hessian: Tensor, linear: Tensor, *, total: float | None = None, start: Tensor | None = None) -> Tensor:
    """The minimum of ``½ wᵀHw + cᵀw`` over ``w ≥ 0``, and ``Σ w = total`` if it is given.

    The method is the active-set method of Lawson and Hanson, with the sum as a constraint. Weights are zero or free,
    and the free ones solve a linear system. The weight with the steepest descent is freed; weights that would become
    negative are set to zero again.

    Args:
        hessian: H, [T, T], symmetric without negative eigenvalues, of a scale near 1.
        linear: c, [T].
        total: The sum of the weights.
        start: A feasible point, [T], to begin with.

    Returns:
        w, [T].

    Example:
        >>> H = torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double()
        >>> [round(x, 3) for x in minimize(H, torch.zeros(2).double(), total=1.0).tolist()]
        [0.625, 0.375]
    """
    count = len(linear)
    if start is not None:
        weights = start.clone()
    else:
        weights = torch.zeros_like(linear)
        if total is not None:
            weights[(0.5 * total * hessian.diagonal() + linear).argmin()] = total
    free = weights > 0
    if start is not None:
        weights, free = _to_minimum_of_face(hessian, linear, total, weights, free)
    for _ in range(10 * count):
        gradient = hessian @ weights + linear
        level = gradient[free].mean() if total is not None else 0.0
        slack = torch.where(free, torch.inf, gradient - level)
        steepest = int(slack.argmin())
        if float(slack[steepest]) >= -1e-12:
            break
        free[steepest] = True
        weights, free = _to_minimum_of_face(hessian, linear, total, weights, free)
    return weights


def _to_minimum_of_face(
    hessian: Tensor, linear: Tensor, total: float | None, weights: Tensor, free: Tensor
) -> tuple[Tensor, Tensor]:
    """Move towards the minimum over the free weights, setting to zero those that reach it on the way."""
    while bool(free.any()):
        candidate = torch.zeros_like(weights)
        candidate[free] = _stationary(hessian[free][:, free], linear[free], total)
        falling = free & (candidate <= 0)
        if not bool(falling.any()):
            return candidate, free
        share = torch.where(falling, weights / (weights - candidate).clamp_min(1e-300), torch.inf)
        weights = weights + share.min().clamp(0, 1) * (candidate - weights)
        free = free & ~(falling & (share <= share.min())) & (weights > 0)
        weights = torch.where(free, weights, 0.0)
    return weights, free


def _stationary(hessian: Tensor, linear: Tensor, total: float | None) -> Tensor:
    """The stationary point of the quadratic, on the plane ``Σ w = total`` if it is given."""
    if total is None:
        return solve(hessian, -linear)
    count = len(linear)
    system = torch.ones(count + 1, count + 1, dtype=hessian.dtype)
    system[:count, :count] = hessian
    system[count, count] = 0.0
    return solve(system, torch.cat([-linear, linear.new_tensor([total])]))[:count]


def simplex_projection(point: Tensor) -> Tensor:
    """The nearest point of the simplex ``w ≥ 0, Σ w = 1``; coordinates of −∞ become 0.

    Example:
        >>> simplex_projection(torch.tensor([0.5, 1.5, -1.0])).tolist()
        [0.0, 1.0, 0.0]
    """
    ordered = point.sort(descending=True).values
    level = (ordered.cumsum(0) - 1) / torch.arange(1, len(point) + 1, dtype=point.dtype, device=point.device)
    last = (ordered > level).sum(0, keepdim=True) - 1
    return (point - level.gather(0, last.clamp_min(0))).clamp_min(0)
