"""The expectation of a nonnegative value from its survival function."""

from torch import Tensor


def restore(logit: Tensor, edges: Tensor) -> Tensor:
    """Σ_m ½ (P(y > t_m) + P(y > t_{m+1})) (t_{m+1} − t_m) = E[min(y, t_M)], by the trapezoid rule.

    The survival at each bucket's left edge would restore a value above the mean, at its right edge one below the mean.

    Args:
        logit: Log-odds of y > t_m, m = 0 … M, [B, M + 1].
        edges: t_0 … t_M, [M + 1].

    Returns:
        Restored values, [B].

    Example:
        >>> import torch
        >>> restore(torch.zeros(1, 3), torch.tensor([0.0, 10.0, 30.0])).item()
        15.0
    """
    survival = logit.sigmoid()
    return (survival[:, :-1] + survival[:, 1:]) @ edges.diff().to(logit.dtype) / 2
