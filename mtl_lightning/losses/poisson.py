"""Poisson likelihood."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, Output, Target, Task
from mtl_lightning.losses.rows import known_rows

LARGEST = 30.0
"""Logarithm of the largest plausible rate."""


class PoissonLoss(Loss):
    """−log P(y) of a Poisson distribution with rate e^v: e^v − y v + log y!, never negative.

    Beyond v = 30 the exponential continues along its tangent: e^v would be infinite at 89, and so would the step.

    Source: McCullagh & Nelder, "Generalized Linear Models", 2nd ed., 1989, chapter 6.

    Args:
        task: A count task.

    Shapes: logit [B, 1], the logarithm of the rate, label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = PoissonLoss(Task(name="clicks", kind="count", label="clicks"))
        >>> target = Target(label=torch.tensor([[2.0]]), mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 1)), target, {}).item(), 4)  # 1 + log 2
        1.6931
    """

    kinds = frozenset({"count"})
    heads = frozenset({"count"})

    def __init__(self, task: Task) -> None:
        super().__init__()

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean negative log-likelihood over known labels."""
        logit = known_rows(output.logit, target)
        label = target.label.to(logit.dtype)
        rate = logit.clamp(max=LARGEST).exp() * (1 + (logit - LARGEST).clamp(min=0))
        values = rate - label * logit + torch.lgamma(label + 1)
        return target.mean(values[:, 0])
