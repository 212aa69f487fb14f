"""Huber loss."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from mtl_lightning.batch import Output, Target
from mtl_lightning.bounds import PositiveFloat
from mtl_lightning.interfaces import Loss, Task
from mtl_lightning.losses.rows import known_rows, linked_label


class Huber(Loss):
    """½d² for |d| ≤ δ and δ(|d| − ½δ) beyond, d = v − y in the head's space.

    Source: Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35 (1964).

    Args:
        task: A task with a number as label.
        delta: Where the loss turns linear, in the head's space (standard deviations).

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = Huber(Task(name="rating", kind="regression", label="rating"))
        >>> target = Target(label=torch.tensor([[3.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> round(loss(Output(torch.tensor([[1.0], [9.0]])), target, {}).item(), 4)
        1.5
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"regression"})

    def __init__(self, task: Task, *, delta: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.delta = delta

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        values = functional.huber_loss(
            known_rows(output.logit, target), linked_label(output, target), reduction="none", delta=self.delta
        )
        return target.mean(values[:, 0])
