"""Absolute error."""

from torch import Tensor

from mtl_lightning.losses.linked import LinkedLoss


class MeanAbsoluteError(LinkedLoss):
    """|v − y| in the head's space; its optimum is the median.

    Args:
        task: A task with a number as label.

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Output, Target, Task
        >>> loss = MeanAbsoluteError(Task(name="rating", kind="regression", label="rating"))
        >>> target = Target(label=torch.tensor([[3.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> round(loss(Output(torch.tensor([[1.0], [9.0]])), target, {}).item(), 4)
        2.0
    """

    def cost(self, error: Tensor) -> Tensor:
        """Absolute error."""
        return error.abs()
