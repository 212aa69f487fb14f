"""Matrix products whose inner width is padded with zeros to a multiple of the vector width."""

from torch import Tensor
from torch.nn import functional

MULTIPLE = 8
LEAST = 1 << 20
"""Multiplications per column from which the cost of the two copies is small compared to the product."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``functional.linear`` of [B, D] and [H, D], padded where D is not a multiple, which is faster in CPU training.

    Example:
        >>> import torch
        >>> linear(torch.ones(2, 3), torch.ones(1, 3), torch.ones(1)).tolist()
        [[4.0], [4.0]]
    """
    missing = -x.shape[1] % MULTIPLE
    if missing and x.device.type == "cpu" and x.requires_grad and x.shape[0] * weight.shape[0] >= LEAST:
        x, weight = functional.pad(x, (0, missing)), functional.pad(weight, (0, missing))
    return functional.linear(x, weight, bias)
