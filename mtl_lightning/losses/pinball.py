"""Pinball loss of several quantiles."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, Output, Target, Task
from mtl_lightning.losses.rows import known_rows, linked_label


class PinballLoss(Loss):
    """Twice the mean over levels α of max(α (y − q_α), (α − 1) (y − q_α)), in the head's standardised space.

    With levels in the middle of equal parts of [0, 1], this is the midpoint rule of the continuous ranked probability
    score, CRPS = 2 ∫ pinball_α dα (Gneiting & Ranjan, 2011, equation 8).

    Source: Koenker & Bassett, "Regression Quantiles", Econometrica 46, 1978; Gneiting & Ranjan, "Comparing Density
    Forecasts Using Threshold- and Quantile-Weighted Scoring Rules", Journal of Business & Economic Statistics 29, 2011.

    Args:
        task: A task with the head ``distribution``.

    Shapes: logit [B, Q], ``extra["levels"]`` [Q], label [B, 1] → scalar.

    Example:
        >>> loss = PinballLoss(Task(name="spend", kind="value", label="spend"))
        >>> target = Target(label=torch.tensor([[2.0]]), mask=torch.tensor([True]))
        >>> output = Output(torch.tensor([[1.0, 4.0]]), extra={"levels": torch.tensor([0.25, 0.75])})
        >>> loss(output, target, {}).item()  # 2 × (¼ × 1 + ¼ × 2) / 2
        0.75
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"distribution"})

    def __init__(self, task: Task) -> None:
        super().__init__()

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        distance = linked_label(output, target) - known_rows(output.logit, target)
        levels = output.extra["levels"].to(distance.dtype)
        return target.mean(2 * torch.maximum(levels * distance, (levels - 1) * distance).mean(1))
