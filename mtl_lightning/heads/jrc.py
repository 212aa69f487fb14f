"""A probability from the energies of two classes."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, Task


class JRCHead(TowerHead):
    """Tower with a logit per class, f_0 and f_1: p = σ(f_1 − f_0), and each logit ranks the rows of a user.

    One logit cannot be a calibrated probability and a free ranking score at once. Of two logits, the difference is the
    log-odds, and the level is free for the ranking.

    Source: Sheng et al., "Joint Optimization of Ranking and Calibration with Contextualized Hybrid Model", KDD 2023.

    Args:
        task: A binary task. If its mean is known, the difference starts at the log-odds of it.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 1], the log-odds; ``extra["energies"]`` [B, 2]; prediction [B], a probability.

    Example:
        >>> import torch
        >>> head = JRCHead(Task(name="click", kind="binary", label="click", mean=0.2), 8, {}, hidden=[])
        >>> head(torch.zeros(1, 8), {}, {}).logit.sigmoid().round(decimals=4).item()
        0.20000000298023224
    """

    kinds = frozenset({"binary"})
    loss: ClassVar[str] = "jrc"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[TowerOptions]) -> None:
        super().__init__(task, width, parents, 2, **options)
        start = rate_logit(task.mean)
        with torch.no_grad():
            self.tower.output.bias.copy_(torch.tensor([-start / 2, start / 2]))

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the event, and the energies of its absence and presence."""
        energies, hidden = self.tower(h)
        return Output(energies[:, 1:] - energies[:, :1], hidden, extra={"energies": energies})

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of the event, [B]."""
        return output.logit[:, 0].sigmoid()
