"""Progressive regression over a tree of intervals."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, NonNegativeFloat, Output, Target, Task
from mtl_lightning.losses.rows import known_rows, linked_label


class TPMLoss(Loss):
    """−log P(leaf of y) + ``regression`` · ((ŷ − y)/c)² + ``variance`` · Var(t_leaf)/c², c the last leaf's value.

    The first term is the cross-entropy of every turn on the path to y. The second draws the expectation to y, and the
    third reduces the spread. In the second, labels beyond the last leaf's value count as that value.

    Source: Lin et al., "Tree based Progressive Regression Model for Watch-Time Prediction in Short-video
    Recommendation", KDD 2023.

    Args:
        task: A task with the head ``tpm``.
        regression: Weight of the expectation's squared error.
        variance: Weight of the variance over the leaves.

    Shapes: ``extra``: leaf [B, M], edges [M − 1], values [M]; label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = TPMLoss(Task(name="watch", kind="regression", label="s"), regression=0.0, variance=0.0)
        >>> target = Target(label=torch.tensor([[5.0]]), mask=torch.tensor([True]))
        >>> leaf = torch.tensor([[0.25, 0.75]]).log()
        >>> extra = {"leaf": leaf, "edges": torch.tensor([10.0]), "values": torch.tensor([4.0, 20.0])}
        >>> round(loss(Output(torch.zeros(1, 1), extra=extra), target, {}).item(), 4)
        1.3863
    """

    kinds = frozenset({"regression", "count", "value"})
    heads = frozenset({"tpm"})

    def __init__(self, task: Task, *, regression: NonNegativeFloat = 1.0, variance: NonNegativeFloat = 0.1) -> None:
        super().__init__()
        self.regression, self.variance = regression, variance

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        leaf = known_rows(output.extra["leaf"], target)
        label = linked_label(output, target)[:, 0]
        edges, times = (output.extra[name].to(leaf.dtype) for name in ("edges", "values"))
        unit = times[-1]
        loss = -leaf.gather(1, torch.bucketize(label.detach(), edges).unsqueeze(1))[:, 0]
        share, places = leaf.exp(), times / unit
        expected = share @ places
        if self.regression > 0:
            loss = loss + self.regression * (expected - label.clamp(max=unit) / unit).square()
        if self.variance > 0:
            loss = loss + self.variance * (share * (places - expected.unsqueeze(1)).square()).sum(1)
        return target.mean(loss)
