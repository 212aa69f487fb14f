"""Duration-deconfounded quantile loss."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, NonNegativeFloat, Output, Target, Task
from mtl_lightning.losses.rows import known_rows, linked_label


class D2QLoss(Loss):
    """(û − F_g(y))² + pinball loss of the group's quantile table, each with its own gradient.

    û is the predicted quantile. F_g(y) is the label's quantile in its group's table, without gradient. The table itself
    is fitted by the pinball loss Σ_j max(u_j d_j, (u_j − 1) d_j) with d_j = y − q_gj. It is averaged over the levels
    u_j and taken in units of the task's mean.

    Source: Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation", KDD 2022;
    Koenker & Bassett, "Regression Quantiles", Econometrica 46 (1978), for the pinball loss.

    Args:
        task: A task with the head ``d2q``.
        table: Weight of the pinball loss of the table.

    Shapes: ``extra``: quantile [B, 1], table [B, Q], levels [Q], unit []; label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = D2QLoss(Task(name="watch", kind="regression", label="s"), table=0.0)
        >>> extra = {"quantile": torch.tensor([[0.5]]), "table": torch.tensor([[1.0, 2.0]]),
        ...          "levels": torch.tensor([0.25, 0.75]), "unit": torch.tensor(1.0)}
        >>> target = Target(label=torch.tensor([[1.0]]), mask=torch.tensor([True]))
        >>> output = Output(torch.zeros(1, 1), extra=extra, link=lambda label: label * 0.25)
        >>> loss(output, target, {}).item()  # (0.5 − 0.25)²
        0.0625
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"d2q"})

    def __init__(self, task: Task, *, table: NonNegativeFloat = 1.0) -> None:
        super().__init__()
        self.table = table

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        quantile = known_rows(output.extra["quantile"], target)
        table = known_rows(output.extra["table"], target)
        levels = output.extra["levels"].to(quantile.dtype)
        place = linked_label(output, target)
        label = known_rows(target.label.to(quantile.dtype), target)
        distance = (label - table) / output.extra["unit"]
        pinball = torch.maximum(levels * distance, (levels - 1) * distance).mean(1)
        return target.mean((quantile - place).square()[:, 0] + self.table * pinball)
