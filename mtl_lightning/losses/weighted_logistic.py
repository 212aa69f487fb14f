"""Weighted logistic loss for watch time."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import Loss, Output, Target, Task
from mtl_lightning.losses.rows import known_rows, linked_label


class WeightedLogistic(Loss):
    """y·softplus(−v) + softplus(v): a positive of weight y and a negative of weight 1; at the optimum e^v = E[y].

    Source: Covington, Adams & Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 4.2.

    Args:
        task: A task whose label is at least 0.

    Shapes: logit [B, 1], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = WeightedLogistic(Task(name="watch", kind="regression", label="s"))
        >>> target = Target(label=torch.tensor([[2.0]]), mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 1)), target, {}).item(), 4)  # 3 log 2
        2.0794
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"weighted_logistic"})

    def __init__(self, task: Task) -> None:
        super().__init__()

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        logit = known_rows(output.logit, target)
        label = linked_label(output, target).clamp(min=0)
        values = label * functional.softplus(-logit) + functional.softplus(logit)
        return target.mean(values[:, 0])
