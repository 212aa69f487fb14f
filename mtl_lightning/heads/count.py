"""A count from a tower."""

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from mtl_lightning.batch import Output
from mtl_lightning.bounds import DropRate, Sizes
from mtl_lightning.heads.tower import Tower
from mtl_lightning.interfaces import Head, Task
from mtl_lightning.layers.mlp import Activation


class CountHead(Head):
    """Tower whose output is the logarithm of a Poisson rate: E[y] = exp(w·tower(h) + b).

    Source: McCullagh & Nelder, "Generalized Linear Models", 2nd ed., 1989, chapter 6.

    Args:
        task: A count task. If its mean is known, the rate starts there.
        width: Width H of the representation.
        parents: Ignored.
        hidden: Layer sizes of the tower.
        activation: Activation of the tower.
        dropout: Dropout in the tower.

    Shapes: h [B, H] → logit [B, 1], prediction [B], the expected count.

    Example:
        >>> import torch
        >>> head = CountHead(Task(name="clicks", kind="count", label="clicks", mean=2.0), 8, {}, hidden=[])
        >>> round(head.predict(head(torch.zeros(1, 8), {}, {}), {}).item(), 4)
        2.0
    """

    kinds = frozenset({"count"})
    loss: ClassVar[str] = "poisson"

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
        start = math.log(task.mean) if task.mean else 0.0
        self.tower = Tower(width, hidden, 1, activation=activation, dropout=dropout, start=start)
        self.hidden_width = self.tower.width

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Logarithm of the rate."""
        logit, hidden = self.tower(h)
        return Output(logit, hidden)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Expected count, [B]; at most e^30, so that an untrained tail isn't infinite."""
        return output.logit[:, 0].clamp(max=30.0).exp()
