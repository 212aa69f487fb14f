"""Binary cross-entropy."""

from collections.abc import Hashable, Mapping

from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.interfaces import Loss, Output, PositiveFloat, Share, Target, Task
from mtl_lightning.losses.rows import key_of, known_rows


class BinaryCrossEntropy(Loss):
    """−y log p − (1 − y) log(1 − p), from log-odds; labels of soft_binary tasks are between 0 and 1.

    With ``smoothing`` ε, a label y counts as (1 − ε) y + ε / 2, as in Szegedy et al. 2016, section 7, with two classes.
    At the optimum, the prediction for a row whose rate is p is then (1 − ε) p + ε / 2.

    Args:
        task: A binary, soft_binary or multilabel task.
        positive_weight: Factor of the positive part of the loss. Other than 1, it shifts the predicted probabilities.
        smoothing: Share ε of each label that is spread evenly over 0 and 1. Other than 0, it shifts the predicted
            probabilities towards one half. Metrics use the labels themselves.

    Shapes: logit [B, K], label [B, K] → scalar, a mean over K.

    Example:
        >>> import torch
        >>> loss = BinaryCrossEntropy(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.tensor([True, False]))
        >>> round(loss(Output(torch.zeros(2, 1)), target, {}).item(), 4)
        0.6931
    """

    kinds = frozenset({"binary", "multilabel", "soft_binary"})

    def __init__(
        self,
        task: Task,
        *,
        positive_weight: PositiveFloat = 1.0,
        smoothing: Share = 0.0,
    ) -> None:
        super().__init__()
        self.positive_weight, self.smoothing = positive_weight, smoothing

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean cross-entropy over known labels."""
        values = self.elements(known_rows(output.logit, target), self.label(output, target))
        return target.mean(values.mean(1) if values.shape[1] > 1 else values.squeeze(1))

    @override
    def alike(self) -> Hashable | None:
        return key_of(self) if type(self).forward is BinaryCrossEntropy.forward else None

    @override
    def elements(self, logit: Tensor, label: Tensor) -> Tensor:
        if self.smoothing > 0:
            label = (1 - self.smoothing) * label + self.smoothing / 2
        factor = None if self.positive_weight == 1.0 else logit.new_tensor(self.positive_weight)
        return functional.binary_cross_entropy_with_logits(logit, label, reduction="none", pos_weight=factor)
