"""An ordered class from a tower."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, MtlError, Output, Task


class OrdinalHead(TowerHead):
    """CORAL: one score and K − 1 ordered thresholds, P(y > k) = σ(w·tower(h) + b_k).

    The thresholds are b_0 − Σ softplus(d), so P(y > k) falls with k by construction. In the paper it falls with k at
    the optimum.

    Source: Cao, Mirjalili & Raschka, "Rank Consistent Ordinal Regression for Neural Networks", Pattern Recognition
    Letters 140 (2020).

    Args:
        task: An ordinal task with labels 0 … K − 1; its ``classes`` is K, at least 2.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, K − 1] of P(y > k), prediction [B], the expected class Σ_k P(y > k).

    Example:
        >>> import torch
        >>> head = OrdinalHead(Task(name="stars", kind="ordinal", label="stars", classes=5), 8, {}, hidden=[])
        >>> logit = head(torch.randn(1, 8), {}, {}).logit
        >>> bool((logit.diff() < 0).all())
        True
    """

    kinds = frozenset({"ordinal"})
    loss: ClassVar[str] = "coral"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[TowerOptions]) -> None:
        super().__init__(task, width, parents, **options)
        if task.classes < 2:
            raise MtlError(f"tasks.{task.name}: ordinal needs at least two classes", "set classes")
        # Start with equal shares of the classes: P(y > k) = (K − 1 − k) / K.
        shares = torch.arange(task.classes - 1, 0, -1) / task.classes
        start = torch.logit(shares)
        self.first = nn.Parameter(start[:1].clone())
        self.drops = nn.Parameter((-start.diff()).expm1().log())

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of exceeding each class."""
        score, hidden = self.tower(h)
        falls = functional.softplus(self.drops).cumsum(0)
        thresholds = torch.cat([self.first, self.first - falls])
        return Output(score + thresholds, hidden)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Expected class, [B]."""
        return output.logit.sigmoid().sum(1)
