"""Piecewise-linear interpolation, a table per row."""

import torch
from torch import Tensor


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """The piecewise-linear function through (knots, values), flat outside; a table per row.

    Args:
        x: Where, [B, N].
        knots: Ascending per row, [B, Q] with Q ≥ 2.
        values: [B, Q].

    Returns:
        [B, N].

    Example:
        >>> knots = torch.tensor([[0.0, 1.0, 3.0]])
        >>> interpolate(torch.tensor([[0.5, 2.0, 9.0]]), knots, torch.tensor([[0.0, 10.0, 20.0]])).tolist()
        [[5.0, 15.0, 20.0]]
    """
    upper = (x.unsqueeze(2) > knots.unsqueeze(1)).sum(2).clamp(1, knots.shape[1] - 1)
    low, high = knots.gather(1, upper - 1), knots.gather(1, upper)
    share = ((x - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny)).clamp(0, 1)
    return torch.lerp(values.gather(1, upper - 1), values.gather(1, upper), share)
