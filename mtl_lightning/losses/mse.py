"""Squared error."""

from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.losses.linked import LinkedLoss


class MeanSquaredError(LinkedLoss):
    """(v − y)² in the head's space: standardised labels for the ``regression`` head.

    Args:
        task: A task with a number as label.

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Output, Target, Task
        >>> loss = MeanSquaredError(Task(name="rating", kind="regression", label="rating"))
        >>> target = Target(label=torch.tensor([[3.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> loss(Output(torch.tensor([[1.0], [9.0]])), target, {}).item()
        4.0
    """

    def cost(self, error: Tensor) -> Tensor:
        """Squared error."""
        return error.square()

    @override
    def elements(self, logit: Tensor, label: Tensor) -> Tensor:
        if type(self).cost is not MeanSquaredError.cost:
            return super().elements(logit, label)
        return functional.mse_loss(logit, label, reduction="none")  # its gradient takes one kernel, not three
