"""Weights of a batch's rows in a metric, and sums over the rows that count.

Shapes: B rows. Rows whose label is unknown have weight 0, and their predictions may have any value, including NaN.
"""

import torch
from torch import Tensor

from mtl_lightning.batch import Target


def row_weight(target: Target) -> Tensor:
    """Weight of every row, [B] float64: its sample weight (1 by default) where the label is known, 0 otherwise.

    Example:
        >>> row_weight(Target(label=torch.zeros(2, 1), mask=torch.tensor([True, False]))).tolist()
        [1.0, 0.0]
    """
    mask = target.mask.to(torch.float64)
    if target.weight is None:
        return mask
    return torch.where(target.mask, target.weight, 0.0).to(torch.float64)  # the weight of an unknown row may be NaN


def weighted_sum(values: Tensor, weight: Tensor) -> Tensor:
    """Sum of ``values`` × ``weight`` over the rows that have a weight, in float64.

    Args:
        values: One value per row, [B]; ignored where the weight is 0, even if it is NaN.
        weight: From :func:`row_weight`, [B].

    Example:
        >>> weighted_sum(torch.tensor([3.0, float("nan")]), torch.tensor([2.0, 0.0])).item()
        6.0
    """
    return torch.where(weight > 0, values.to(torch.float64) * weight, 0.0).sum()


def chance(prediction: Tensor) -> Tensor:
    """Predictions as probabilities in float64, NaN where they are outside [0, 1], so that a sum becomes NaN as well.

    Example:
        >>> chance(torch.tensor([0.5, 1.5])).tolist()
        [0.5, nan]
    """
    p = prediction.detach().to(torch.float64)
    return torch.where((p >= 0) & (p <= 1), p, torch.nan)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient, NaN where the denominator is 0: a metric without rows is undefined, not infinite."""
    return torch.where(denominator != 0, numerator / denominator, torch.nan)
