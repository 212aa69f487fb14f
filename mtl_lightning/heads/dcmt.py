"""Direct entire-space causal multi-task framework."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor

from mtl_lightning.batch import Output
from mtl_lightning.heads.esmm import ESMMHead
from mtl_lightning.heads.tower import Tower
from mtl_lightning.interfaces import Head, Task
from mtl_lightning.layers import Activation


class DCMTHead(ESMMHead):
    """ESMM's product, and a twin tower for the counterfactual event.

    The twin predicts that the event would *not* happen, learned where the parent's event didn't (loss ``dcmt``); both
    are weighted by inverse probabilities and tied by r + r* ≈ 1.

    Source: Zhu et al., "DCMT: A Direct Entire-Space Causal Multi-Task Framework for Post-Click Conversion Estimation",
    ICDE 2023.

    Args:
        task: A binary task with one parent; its label is the joint event, known for every impression, or the
            event given the parent's, known where that happened. The loss is the same for both.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        hidden: Layer sizes of each tower.
        activation: Activation of the towers.
        dropout: Dropout in the towers.
        predicts: ``joint``, the probability of both events, or ``conditional``, that of this one given the parent's.

    Shapes: h [B, H] → logit [B, 1] of the joint event; ``extra["conditional"]`` and ``extra["counterfactual"]`` [B, 1],
    log-odds.

    Raises:
        MtlError: If there isn't exactly one parent, or it isn't binary.

    Example:
        >>> import torch
        >>> from mtl_lightning.heads.binary import BinaryHead
        >>> click = BinaryHead(Task(name="click", kind="binary", label="click"), 8, {})
        >>> task = Task(name="sale", kind="binary", label="sale", parents=("click",))
        >>> head = DCMTHead(task, 8, {"click": click}, predicts="conditional")
        >>> h = torch.randn(3, 8)
        >>> sorted(head(h, {"click": click(h, {}, {})}, {}).extra)
        ['conditional', 'counterfactual']
    """

    loss: ClassVar[str] = "dcmt"

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
        self.counterfactual = Tower(width, hidden, 1, activation=activation, dropout=dropout, start=-self.start)
        self.predicts = predicts

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the joint event, of the conditional one, and of the counterfactual."""
        output = super().forward(h, parents, raw)
        output.extra["counterfactual"], _ = self.counterfactual(h)
        return output

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of the joint or the conditional event, [B]."""
        if self.predicts == "conditional":
            return output.extra["conditional"][:, 0].sigmoid()
        return super().predict(output, raw)
