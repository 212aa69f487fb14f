"""Cross-entropy over classes."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import Loss, Output, Share, Target, Task
from mtl_lightning.losses.rows import known_rows


class CrossEntropy(Loss):
    """−log p_y over K classes, with optional label smoothing.

    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7 (smoothing).

    Args:
        task: A multiclass task; its label is the class number, 0 … K − 1.
        smoothing: Share of the label that is spread over all classes.

    Shapes: logit [B, K], label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = CrossEntropy(Task(name="kind", kind="multiclass", label="kind", classes=4))
        >>> target = Target(label=torch.tensor([[3.0]]), mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 4)), target, {}).item(), 4)
        1.3863
    """

    kinds = frozenset({"multiclass"})

    def __init__(self, task: Task, *, smoothing: Share = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean cross-entropy over known labels."""
        logit = known_rows(output.logit, target)
        label = target.label[:, 0].long()
        return target.mean(functional.cross_entropy(logit, label, reduction="none", label_smoothing=self.smoothing))
