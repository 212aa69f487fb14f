"""The expectation of a value at least 0 from its survival function."""

from torch import Tensor


def restore(logit: Tensor, edges: Tensor) -> Tensor:
    """Σ_m P(y > t_m)(t_{m+1} − t_m) = E[min(y, t_M)] up to the width of the buckets.

    Args:
        logit: Log-odds of y > t_m, [B, M].
        edges: t_0 … t_M, [M + 1].

    Returns:
        Restored values, [B].

    Example:
        >>> import torch
        >>> restore(torch.zeros(1, 2), torch.tensor([0.0, 10.0, 30.0])).item()
        15.0
    """
    return logit.sigmoid() @ edges.diff().to(logit.dtype)
