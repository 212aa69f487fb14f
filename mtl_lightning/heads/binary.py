"""A probability from a tower."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from mtl_lightning.batch import Output
from mtl_lightning.bounds import DropRate, Sizes
from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.heads.tower import Tower
from mtl_lightning.interfaces import Head, Task
from mtl_lightning.layers.mlp import Activation


class BinaryHead(Head):
    """Tower whose output is the log-odds of the event: p = σ(w·tower(h) + b).

    Args:
        task: A binary task. If its mean is known, the bias starts at the log-odds of it.
        width: Width H of the representation.
        parents: Ignored.
        hidden: Layer sizes of the tower.
        activation: Activation of the tower.
        dropout: Dropout in the tower.

    Shapes: h [B, H] → logit [B, 1], prediction [B], a probability.

    Example:
        >>> import torch
        >>> head = BinaryHead(Task(name="click", kind="binary", label="click"), 8, {})
        >>> head.predict(head(torch.zeros(3, 8), {}, {}), {}).shape
        torch.Size([3])
    """

    kinds = frozenset({"binary"})
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
        self.mean = task.mean
        start = rate_logit(task.mean)
        self.tower = Tower(width, hidden, 1, activation=activation, dropout=dropout, start=start)
        self.hidden_width = self.tower.width

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the event."""
        logit, hidden = self.tower(h)
        return Output(logit, hidden)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of the event, [B]."""
        return output.logit[:, 0].sigmoid()
