"""Classification and restoration of watch time."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import Loss, NonNegativeFloat, Output, Target, Task
from mtl_lightning.losses.rows import entropies, known_rows, linked_label


class CREADLoss(Loss):
    """Mean BCE over thresholds + ``restoration`` · Huber((ŷ − y)/t_M) + ``ordering`` · Σ max(p_{m+1} − p_m, 0).

    ŷ is the restored time; labels beyond the last threshold t_M count as t_M there.

    Source: Sun et al., "CREAD: A Classification-Restoration Framework with Error Adaptive Discretization for Watch
    Time Prediction", AAAI 2024.

    Args:
        task: A task with the head ``cread``.
        restoration: Weight of the restored value's error.
        ordering: Weight of the ordering of the probabilities.

    Shapes: logit [B, M + 1], ``extra``: edges [M + 1], restored [B, 1]; label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = CREADLoss(Task(name="watch", kind="regression", label="s"), restoration=0.0)
        >>> target = Target(label=torch.tensor([[5.0]]), mask=torch.tensor([True]))
        >>> output = Output(torch.zeros(1, 3), extra={"edges": torch.tensor([0.0, 10.0, 30.0])})
        >>> round(loss(output, target, {}).item(), 4)
        0.6931
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"cread"})

    def __init__(self, task: Task, *, restoration: NonNegativeFloat = 1.0, ordering: NonNegativeFloat = 0.1) -> None:
        super().__init__()
        self.restoration, self.ordering = restoration, ordering

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        logit = known_rows(output.logit, target)
        label = linked_label(output, target)
        edges = output.extra["edges"].to(logit.dtype)
        values = entropies(logit, label > edges).mean(1)
        if self.restoration > 0:
            error = (known_rows(output.extra["restored"], target) - label.clamp(max=edges[-1]))[:, 0] / edges[-1]
            values = values + self.restoration * functional.huber_loss(error, torch.zeros_like(error), reduction="none")
        if self.ordering > 0:
            values = values + self.ordering * logit.sigmoid().diff(dim=1).clamp(min=0).sum(1)
        return target.mean(values)
