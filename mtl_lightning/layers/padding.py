"""Products whose inner width is no multiple of a vector register's, filled up with zeros."""

from torch import Tensor
from torch.nn import functional

MULTIPLE = 8
LEAST = 1 << 20
"""Multiplications per column from which the two copies are small beside the product."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``functional.linear`` of [B, D] and [H, D], on a CPU in training faster where D is odd in this sense.

    Example:
        >>> import torch
        >>> linear(torch.ones(2, 3), torch.ones(1, 3), torch.ones(1)).tolist()
        [[4.0], [4.0]]
    """
    missing = -x.shape[1] % MULTIPLE
    if missing and x.device.type == "cpu" and x.requires_grad and x.shape[0] * weight.shape[0] >= LEAST:
        x, weight = functional.pad(x, (0, missing)), functional.pad(weight, (0, missing))
    return functional.linear(x, weight, bias)
