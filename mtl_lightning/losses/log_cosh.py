"""Log-cosh loss."""

import math

from torch import Tensor
from torch.nn import functional

from mtl_lightning.losses.linked import LinkedLoss


def log_cosh(difference: Tensor) -> Tensor:
    """Log cosh d, computed as |d| + log(1 + exp(−2|d|)) − log 2, which can't overflow."""
    size = difference.abs()
    return size + functional.softplus(-2 * size) - math.log(2)


class LogCosh(LinkedLoss):
    """log cosh(v − y) in the head's space: ½d² near zero, |d| − log 2 far away, smooth throughout.

    Source: Saleh & Saleh, "Statistical Properties of the Log-Cosh Loss Function", 2022 (arXiv 2208.04564).

    Args:
        task: A task with a number as label.

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Output, Target, Task
        >>> loss = LogCosh(Task(name="rating", kind="regression", label="rating"))
        >>> target = Target(label=torch.tensor([[3.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> round(loss(Output(torch.tensor([[1.0], [9.0]])), target, {}).item(), 4)
        1.325
    """

    def cost(self, error: Tensor) -> Tensor:
        """Logarithm of the hyperbolic cosine of the error."""
        return log_cosh(error)
