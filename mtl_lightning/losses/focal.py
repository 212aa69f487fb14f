"""Focal loss."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, NonNegativeFloat, Output, Share, Target, Task
from mtl_lightning.losses.rows import entropies, known_rows


class FocalLoss(Loss):
    """−(1 − p_y)^γ log p_y: well predicted rows count less. γ = 0 is binary cross-entropy.

    It does not keep probabilities calibrated: predictions are drawn towards ½.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equations 4 and 5.

    Args:
        task: A binary or multilabel task.
        gamma: Exponent γ.
        alpha: Weight of positives; negatives have the weight 1 − alpha. ``null`` for no weights.

    Shapes: logit [B, K], label [B, K] → scalar, a mean over K.

    Example:
        >>> import torch
        >>> loss = FocalLoss(Task(name="click", kind="binary", label="click"), gamma=2.0)
        >>> target = Target(label=torch.tensor([[1.0]]), mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 1)), target, {}).item(), 4)  # 0.25 · log 2
        0.1733
    """

    kinds = frozenset({"binary", "multilabel"})

    def __init__(self, task: Task, *, gamma: NonNegativeFloat = 2.0, alpha: Share | None = None) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean focal loss over known labels."""
        logit = known_rows(output.logit, target)
        label = target.label.to(logit.dtype)
        entropy = entropies(logit, label)
        # 1 − p_y from log-odds; as a difference it would lose all digits where the row is right.
        wrong = torch.lerp(logit.sigmoid(), (-logit).sigmoid(), label)
        # Above zero, where the derivative of a power below 1 is infinite.
        values = wrong.clamp_min(torch.finfo(wrong.dtype).tiny) ** self.gamma * entropy
        if self.alpha is not None:
            values = values * torch.lerp(
                torch.full_like(label, 1 - self.alpha), torch.full_like(label, self.alpha), label
            )
        return target.mean(values.mean(1))
