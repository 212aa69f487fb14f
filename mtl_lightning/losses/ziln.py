"""Zero-inflated log-normal likelihood."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import Loss, Output, Target, Task
from mtl_lightning.losses.rows import entropies, known_rows, linked_label


def log_deviation(spread: Tensor) -> Tensor:
    """σ = softplus(s) + 0.001 of the logarithm; without the floor a single row could be fitted with infinite density.

    Example:
        >>> round(log_deviation(torch.tensor(-100.0)).item(), 6)
        0.001
    """
    return functional.softplus(spread) + 1e-3


class ZILNLoss(Loss):
    """−log P(y > 0 or not) − [y > 0] log density of a log-normal at y.

    With log-odds a, location μ and σ = softplus(s) + 0.001:
    BCE(a, y > 0) + [y > 0]·(½((log y − μ)/σ)² + log σ + ½ log 2π + log y), in units of the task's mean. A density can
    exceed one, so this loss can be negative. Weighters that take its logarithm need another loss.

    Source: Wang, Liu & Miao, "A Deep Probabilistic Model for Customer Lifetime Value Prediction", 2019
    (arXiv 1912.07753).

    Args:
        task: A value task.

    Shapes: logit [B, 3] (a, μ, s), label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = ZILNLoss(Task(name="spend", kind="value", label="spend"))
        >>> target = Target(label=torch.tensor([[0.0]]), mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 3)), target, {}).item(), 4)
        0.6931
    """

    kinds = frozenset({"value"})
    heads = frozenset({"value"})

    def __init__(self, task: Task) -> None:
        super().__init__()

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean negative log-likelihood over known labels."""
        odds, location, spread = known_rows(output.logit, target).unbind(1)
        label = linked_label(output, target)[:, 0]
        positive = (label > 0) & target.mask
        occurs = entropies(odds, positive)
        sigma = log_deviation(spread)
        logarithm = torch.where(positive, label, 1.0).log()
        density = (
            0.5 * ((logarithm - location) / sigma).square() + sigma.log() + 0.5 * math.log(2 * math.pi) + logarithm
        )
        return target.mean(occurs + torch.where(positive, density, 0.0))
