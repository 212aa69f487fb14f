"""CORAL loss for ordered classes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, Output, Target, Task
from mtl_lightning.losses.rows import entropies, known_rows


class CoralLoss(Loss):
    """Mean over k of the binary cross-entropies of [y > k].

    Source: Cao, Mirjalili & Raschka, "Rank Consistent Ordinal Regression for Neural Networks", Pattern Recognition
    Letters 140 (2020).

    Args:
        task: An ordinal task with labels 0 … K − 1.

    Shapes: logit [B, K − 1] of P(y > k), label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = CoralLoss(Task(name="stars", kind="ordinal", label="stars", classes=3))
        >>> target = Target(label=torch.tensor([[1.0]]), mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 2)), target, {}).item(), 4)
        0.6931
    """

    kinds = frozenset({"ordinal"})
    heads = frozenset({"ordinal"})

    def __init__(self, task: Task) -> None:
        super().__init__()

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        logit = known_rows(output.logit, target)
        above = target.label > torch.arange(logit.shape[1], device=logit.device)
        return target.mean(entropies(logit, above).mean(1))
