"""Entire-space cascade with a counterfactual regulariser."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor

from mtl_lightning.batch import Output
from mtl_lightning.heads.esmm import ESMMHead
from mtl_lightning.heads.tower import Tower
from mtl_lightning.interfaces import Head, Task
from mtl_lightning.layers import Activation


class ESCM2Head(ESMMHead):
    """ESMM's product, and an imputation tower for the doubly robust loss.

    The loss ``escm2`` weighs the conditional's errors by the inverse probability of the parent's event (IPW), or
    completes them with imputed ones (DR), so that the conditional is right over all impressions and not only over
    those where the parent's event happened.

    Source: Wang et al., "ESCM²: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
    Estimation", SIGIR 2022.

    Args:
        task: A binary task with one parent; its label is the joint event, known for every impression, or the
            event given the parent's, known where that happened. The loss is the same for both.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        hidden: Layer sizes of each tower.
        activation: Activation of the towers.
        dropout: Dropout in the towers.
        predicts: ``joint``, the probability of both events, or ``conditional``, that of this one given the parent's.

    Shapes: h [B, H] → logit [B, 1] of the joint event; ``extra["conditional"]`` and ``extra["imputation"]`` [B, 1],
    log-odds.

    Raises:
        MtlError: If there isn't exactly one parent, or it isn't binary.

    Example:
        >>> import torch
        >>> from mtl_lightning.heads.binary import BinaryHead
        >>> click = BinaryHead(Task(name="click", kind="binary", label="click"), 8, {})
        >>> task = Task(name="sale", kind="binary", label="sale", parents=("click",))
        >>> head = ESCM2Head(task, 8, {"click": click}, predicts="conditional")
        >>> h = torch.randn(3, 8)
        >>> sorted(head(h, {"click": click(h, {}, {})}, {}).extra)
        ['conditional', 'imputation']
    """

    loss: ClassVar[str] = "escm2"

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        hidden: Sequence[int] = (32,),
        activation: Activation = "relu",
        dropout: float = 0.0,
        predicts: Literal["joint", "conditional"] = "joint",
    ) -> None:
        super().__init__(task, width, parents, hidden=hidden, activation=activation, dropout=dropout)
        self.imputation = Tower(width, hidden, 1, activation=activation, dropout=dropout, start=self.start)
        self.predicts = predicts

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the joint event, of the conditional one, and of the imputed label."""
        output = super().forward(h, parents, raw)
        output.extra["imputation"], _ = self.imputation(h)
        return output

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of the joint or the conditional event, [B]."""
        if self.predicts == "conditional":
            return output.extra["conditional"][:, 0].sigmoid()
        return super().predict(output, raw)
