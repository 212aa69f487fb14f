"""The base of losses of a number in the space of the head's output."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping

from torch import Tensor
from typing_extensions import override

from mtl_lightning.interfaces import Loss, Output, Target, Task
from mtl_lightning.losses.rows import key_of, known_rows, linked_label


class LinkedLoss(Loss):
    """The mean of a function of the error d = v − y, in the space in which the head predicts.

    Args:
        task: A task with a number as label.

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> class Cubed(LinkedLoss):
        ...     def cost(self, error):
        ...         return error.abs() ** 3
        >>> loss = Cubed(Task(name="rating", kind="regression", label="rating"))
        >>> target = Target(label=torch.tensor([[3.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> loss(Output(torch.tensor([[1.0], [9.0]])), target, {}).item()
        8.0
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"regression"})

    def __init__(self, task: Task) -> None:
        super().__init__()

    @abstractmethod
    def cost(self, error: Tensor) -> Tensor:
        """Loss of each row.

        Args:
            error: Difference between prediction and label, [B, 1]; zero where the label is unknown.

        Returns:
            [B, 1].
        """

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        return target.mean(self.elements(known_rows(output.logit, target), self.label(output, target)).squeeze(1))

    @override
    def alike(self) -> Hashable | None:
        return key_of(self) if type(self).forward is LinkedLoss.forward else None

    @override
    def elements(self, logit: Tensor, label: Tensor) -> Tensor:
        return self.cost(logit - label)

    @override
    def label(self, output: Output, target: Target) -> Tensor:
        return linked_label(output, target)
