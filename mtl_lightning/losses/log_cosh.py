"""Log-cosh loss."""

import math
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from mtl_lightning.batch import Output, Target
from mtl_lightning.interfaces import Loss, Task
from mtl_lightning.losses.rows import known_rows, linked_label


def log_cosh(difference: Tensor) -> Tensor:
    """Log cosh d, computed as |d| + log(1 + exp(−2|d|)) − log 2, which can't overflow."""
    size = difference.abs()
    return size + functional.softplus(-2 * size) - math.log(2)


class LogCosh(Loss):
    """log cosh(v − y) in the head's space: ½d² near zero, |d| − log 2 far away, smooth throughout.

    Source: Saleh & Saleh, "Statistical Properties of the Log-Cosh Loss Function", 2022 (arXiv 2208.04564).

    Args:
        task: A task with a number as label.

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = LogCosh(Task(name="rating", kind="regression", label="rating"))
        >>> target = Target(label=torch.tensor([[3.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> round(loss(Output(torch.tensor([[1.0], [9.0]])), target, {}).item(), 4)
        1.325
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"regression"})

    def __init__(self, task: Task) -> None:
        super().__init__()

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        values = log_cosh(known_rows(output.logit, target) - linked_label(output, target))
        return target.mean(values[:, 0])
