"""One of several classes from a tower."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from mtl_lightning.batch import Output
from mtl_lightning.bounds import DropRate, Sizes
from mtl_lightning.heads.tower import Tower
from mtl_lightning.interfaces import Head, Task
from mtl_lightning.layers.mlp import Activation


class MulticlassHead(Head):
    """Tower with an output per class: p = softmax(W tower(h) + b).

    Args:
        task: A multiclass task; its ``classes`` is K.
        width: Width H of the representation.
        parents: Ignored.
        hidden: Layer sizes of the tower.
        activation: Activation of the tower.
        dropout: Dropout in the tower.

    Shapes: h [B, H] → logit [B, K], prediction [B, K], probabilities.

    Example:
        >>> import torch
        >>> head = MulticlassHead(Task(name="kind", kind="multiclass", label="kind", classes=3), 8, {})
        >>> head.predict(head(torch.zeros(2, 8), {}, {}), {}).shape
        torch.Size([2, 3])
    """

    kinds = frozenset({"multiclass"})
    loss: ClassVar[str] = "ce"

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
        self.tower = Tower(width, hidden, task.classes, activation=activation, dropout=dropout)
        self.hidden_width = self.tower.width

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Logit per class."""
        logit, hidden = self.tower(h)
        return Output(logit, hidden)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability per class, [B, K]."""
        return output.logit.softmax(1)
