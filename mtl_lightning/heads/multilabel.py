"""Several labels that may hold at once."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from mtl_lightning.batch import Output
from mtl_lightning.bounds import DropRate, Sizes
from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.heads.tower import Tower
from mtl_lightning.interfaces import Head, Task
from mtl_lightning.layers.mlp import Activation


class MultilabelHead(Head):
    """Tower with an output per label: p_k = σ(w_k·tower(h) + b_k).

    Args:
        task: A multilabel task; its ``classes`` is K. If the mean over its labels is known, biases start there.
        width: Width H of the representation.
        parents: Ignored.
        hidden: Layer sizes of the tower.
        activation: Activation of the tower.
        dropout: Dropout in the tower.

    Shapes: h [B, H] → logit [B, K], prediction [B, K], probabilities.

    Example:
        >>> import torch
        >>> head = MultilabelHead(Task(name="tags", kind="multilabel", label="tags", classes=3), 8, {})
        >>> head.predict(head(torch.zeros(2, 8), {}, {}), {}).shape
        torch.Size([2, 3])
    """

    kinds = frozenset({"multilabel"})
    loss: ClassVar[str] = "bce"

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        hidden: Sizes = (32,),
        activation: Activation = "relu",
        dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        start = rate_logit(task.mean)
        self.tower = Tower(width, hidden, task.classes, activation=activation, dropout=dropout, start=start)
        self.hidden_width = self.tower.width

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds per label."""
        logit, hidden = self.tower(h)
        return Output(logit, hidden)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability per label, [B, K]."""
        return output.logit.sigmoid()
