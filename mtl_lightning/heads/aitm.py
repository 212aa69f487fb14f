"""Adaptive information transfer between the steps of a funnel."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from mtl_lightning.heads.cascade import only_parent
from mtl_lightning.heads.probability import rate_logit, served
from mtl_lightning.heads.tower import Tower
from mtl_lightning.interfaces import DropRate, Head, MtlError, NonNegativeFloat, Output, Sizes, Task
from mtl_lightning.layers import MLP
from mtl_lightning.layers.mlp import Activation


class AITMHead(Head):
    """Attention over the parent's hidden state and the task's own, and a penalty on p_t > p_parent.

    With u_1 = g(hidden_parent) and u_2 = tower(h): w = softmax_i(⟨q(u_i), k(u_i)⟩ / √d), hidden_t = Σ_i w_i v(u_i),
    p_t = σ(a·hidden_t + b). The penalty per row is ``calibrator`` · max(p_t − p_parent, 0). With ``capped`` the served
    probability is min(p_t, p_parent), so the funnel is monotone in every row.

    Source: Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task
    Learning in Targeted Display Advertising", KDD 2021.

    Args:
        task: A binary task with one parent, its label the joint event. If its mean is known, the bias starts there.
        width: Width H of the representation.
        parents: The parent's head, a binary one with a hidden state.
        hidden: Layer sizes of the tower; at least one.
        activation: Activation of the tower and of g.
        dropout: Dropout in the tower.
        calibrator: Factor of the penalty.
        capped: Whether the served probability is at most the parent's.

    Shapes: h [B, H] → logit [B, 1], hidden [B, d] for the next step, penalty [B], ``extra["served"]`` [B, 1].

    Raises:
        MtlError: If there is not exactly one binary parent, or it has no hidden state.

    Example:
        >>> from mtl_lightning.heads.binary import BinaryHead
        >>> click = BinaryHead(Task(name="click", kind="binary", label="click"), 8, {})
        >>> head = AITMHead(Task(name="sale", kind="binary", label="sale", parents=("click",)), 8, {"click": click})
        >>> h = torch.randn(3, 8)
        >>> output = head(h, {"click": click(h, {}, {})}, {})
        >>> output.hidden.shape, output.penalty.shape
        (torch.Size([3, 32]), torch.Size([3]))
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
        calibrator: NonNegativeFloat = 0.6,
        capped: bool = True,
    ) -> None:
        super().__init__()
        self.parent, parent = only_parent("aitm", task, parents)
        if not parent.hidden_width or not hidden:
            raise MtlError(f"heads.{task.name}: aitm needs hidden layers here and in {self.parent}'s head")
        self.mean = task.mean
        self.calibrator, self.capped = calibrator, capped
        self.tower = MLP(width, hidden, activation=activation, dropout=dropout)
        size = self.tower.width
        self.transfer = MLP(parent.hidden_width, [size], activation=activation)
        self.query, self.key, self.value = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)
        self.output = Tower(size, [], 1, start=rate_logit(task.mean))
        self.hidden_width = size

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the event, from the parent's state and the task's own."""
        parent = parents[self.parent]
        assert parent.hidden is not None
        states = torch.stack([self.transfer(parent.hidden), self.tower(h)], dim=1)
        score = (self.query(states) * self.key(states)).sum(-1) / math.sqrt(states.shape[-1])
        hidden = (score.softmax(1).unsqueeze(-1) * self.value(states)).sum(1)
        logit, _ = self.output(hidden)
        excess = (logit.sigmoid() - parent.logit.sigmoid()).clamp(min=0)[:, 0]
        extra = {"served": torch.minimum(logit, served(parent))} if self.capped else {}
        return Output(logit, hidden, penalty=self.calibrator * excess, extra=extra)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of the event, [B]."""
        return served(output)[:, 0].sigmoid()
