"""Huber loss."""

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import PositiveFloat, Task
from mtl_lightning.losses.linked import LinkedLoss


class Huber(LinkedLoss):
    """½d² for |d| ≤ δ and δ(|d| − ½δ) beyond, d = v − y in the head's space.

    Source: Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35 (1964).

    Args:
        task: A task with a number as label.
        delta: Error δ from which the loss is linear, in the head's space (standard deviations).

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> from mtl_lightning.interfaces import Output, Target
        >>> loss = Huber(Task(name="rating", kind="regression", label="rating"))
        >>> target = Target(label=torch.tensor([[3.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> round(loss(Output(torch.tensor([[1.0], [9.0]])), target, {}).item(), 4)
        1.5
    """

    def __init__(self, task: Task, *, delta: PositiveFloat = 1.0) -> None:
        super().__init__(task)
        self.delta = delta

    def cost(self, error: Tensor) -> Tensor:
        """Half the squared error, linear beyond ``delta``."""
        return functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta)
