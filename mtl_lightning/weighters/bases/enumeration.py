"""Small quadratic programmes over weights, solved for every set of positive weights at once.

The active-set method decides after each step which weight to free. On a device the host would wait for each decision.
For few tasks all 2^T sets are solved in one batch, and the best feasible one is chosen on the device.
"""

from functools import cache

import torch
from torch import Tensor

from mtl_lightning.training.products import is_finite

MOST_TASKS = 8
"""Largest number of tasks; 256 systems of 9 equations then."""


def scaled(gramian: Tensor, ridge: float = 0.0) -> Tensor:
    """A Gramian scaled to trace 1, with ``ridge`` added to its diagonal, on any device.

    Unlike :func:`~mtl_lightning.weighters.bases.quadratic.normalized`, it keeps eigenvalues of rounding size that are
    negative: minima are compared by their values, so that no method needs their absence.
    """
    trace = gramian.diagonal().sum()
    return torch.where(trace > 0, gramian / trace, 0.0) + ridge * unit(gramian)


def minimize_each(hessian: Tensor, linear: Tensor, allowed: Tensor) -> Tensor:
    """The minimum of ``½ wᵀHw + cᵀw`` over ``w ≥ 0`` for each of R vectors c.

    Args:
        hessian: H, [T, T], symmetric and positive definite, of a scale near 1; T up to ``MOST_TASKS``.
        linear: Vectors c as columns, [T, R].
        allowed: False for weights that must be 0, [T].

    Returns:
        w of each vector as columns, [T, R]. No host decision is taken.

    Example:
        >>> H = torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double()
        >>> minimize_each(H, torch.tensor([[-1.0], [2.0]]).double(), torch.ones(2, dtype=torch.bool)).flatten().tolist()
        [1.0, 0.0]
    """
    free = _supports(len(hessian), hessian.device)
    systems = torch.where(_pairs(len(hessian), hessian.device), hessian, unit(hessian))
    weights = _solve(systems, torch.where(free.unsqueeze(2), -linear, 0.0))
    return _best(hessian, linear, weights, (free & ~allowed).any(1, keepdim=True))


def minimize_on_simplex(hessian: Tensor, linear: Tensor, allowed: Tensor) -> Tensor:
    """The minimum of ``½ wᵀHw + cᵀw`` over ``w ≥ 0, Σ w = 1``.

    Args:
        hessian: H, [T, T], symmetric without negative eigenvalues, of a scale near 1; T up to ``MOST_TASKS``.
        linear: c, [T].
        allowed: False for weights that must be 0, [T].

    Returns:
        w, [T]. No host decision is taken.

    Example:
        >>> H = torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double()
        >>> best = minimize_on_simplex(H, torch.zeros(2).double(), torch.ones(2, dtype=torch.bool))
        >>> [round(x, 3) for x in best.tolist()]
        [0.625, 0.375]
    """
    count = len(hessian)
    free = _supports(count, hessian.device)
    inner = torch.where(_pairs(count, hessian.device), hessian, unit(hessian))
    systems = torch.nn.functional.pad(inner, (0, 1, 0, 1))
    systems[:, :count, count] = free.to(hessian.dtype)
    systems[:, count, :count] = free.to(hessian.dtype)
    right = torch.nn.functional.pad(torch.where(free, -linear, 0.0), (0, 1), value=1.0)
    weights = _solve(systems, right.unsqueeze(2))[:, :count]
    refused = (free & ~allowed).any(1, keepdim=True) | ~free.any(1, keepdim=True)
    return _best(hessian, linear.unsqueeze(1), weights, refused)[:, 0]


@cache
def _supports(count: int, device: torch.device) -> Tensor:
    """All sets of ``count`` weights, [2^T, T] bool."""
    numbers = torch.arange(1 << count, device=device).unsqueeze(1)
    return numbers.bitwise_right_shift(torch.arange(count, device=device)).bitwise_and(1) == 1


@cache
def _pairs(count: int, device: torch.device) -> Tensor:
    """Pairs of weights that are both in a set, for all sets, [2^T, T, T] bool."""
    free = _supports(count, device)
    return free.unsqueeze(2) & free.unsqueeze(1)


def unit(matrix: Tensor) -> Tensor:
    """The unit matrix of a matrix's size, type and device, which must not be changed."""
    return _unit(len(matrix), matrix.dtype, matrix.device)


@cache
def _unit(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.eye(count, dtype=dtype, device=device)


def _solve(systems: Tensor, right: Tensor) -> Tensor:
    # Unlike `solve`, it does not report singular systems to the host. Their solutions are not finite, or lose below.
    solution: Tensor = torch.linalg.solve_ex(systems, right).result
    return solution


def _best(hessian: Tensor, linear: Tensor, weights: Tensor, refused: Tensor) -> Tensor:
    """The feasible weights of least value, per column: [S, T, R] → [T, R]."""
    values = (weights * (0.5 * hessian @ weights + linear)).sum(1)
    feasible = is_finite(values) & (weights >= -1e-12).all(1) & ~refused
    best = torch.where(feasible, values, torch.inf).argmin(0)
    chosen = weights.gather(0, best.expand(1, *weights.shape[1:]))[0]
    return chosen.clamp_min(0)
