"""Log-odds of products of probabilities, and of base rates."""

import math

import torch
from torch import Tensor

from mtl_lightning.batch import Output


def product_logit(*logits: Tensor) -> Tensor:
    """Log-odds of the product of probabilities that are given as log-odds, exact for tiny probabilities.

    For a and b, 1 / (σ(a)σ(b)) − 1 = e^−a + e^−b + e^−a−b, so the log-odds are −logΣexp(−a, −b, −a−b). No difference of
    nearly equal numbers is taken.

    Args:
        logits: Tensors of one shape.

    Example:
        >>> half = torch.zeros(1)
        >>> product_logit(half, half).sigmoid().item()
        0.25
    """
    joint, *others = logits
    for other in others:
        joint = -torch.logsumexp(torch.stack((-joint, -other, -joint - other)), dim=0)
    return joint


def rate_logit(rate: float | None, parent: float | None = 1.0) -> float:
    """Log-odds of a base rate relative to the parent's rate; 0 if one of them is unknown or degenerate.

    Example:
        >>> rate_logit(0.5), round(rate_logit(0.02, 0.1), 4), rate_logit(None)
        (0.0, -1.3863, 0.0)
    """
    if rate is None or parent is None or not 0 < rate < parent:
        return 0.0
    return math.log(rate / (parent - rate))


def served(output: Output) -> Tensor:
    """Log-odds as served, [B, 1]: without effects of the log, such as a position, where the head separates them."""
    return output.extra.get("served", output.logit)
