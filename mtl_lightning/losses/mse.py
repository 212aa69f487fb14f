"""Squared error."""

from collections.abc import Mapping

from torch import Tensor

from mtl_lightning.batch import Output, Target
from mtl_lightning.interfaces import Loss, Task
from mtl_lightning.losses.rows import known_rows, linked_label


class MeanSquaredError(Loss):
    """(v − y)² in the head's space: standardised labels for the ``regression`` head.

    Args:
        task: A task with a number as label.

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = MeanSquaredError(Task(name="rating", kind="regression", label="rating"))
        >>> target = Target(label=torch.tensor([[3.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> loss(Output(torch.tensor([[1.0], [9.0]])), target, {}).item()
        4.0
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"regression"})

    def __init__(self, task: Task) -> None:
        super().__init__()

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean squared error over known labels."""
        difference = known_rows(output.logit, target) - linked_label(output, target)
        return target.mean(difference.square()[:, 0])
