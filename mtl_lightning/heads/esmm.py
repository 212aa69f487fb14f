"""Entire-space cascade: the probability of an event as its parent's times a conditional one."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor

from mtl_lightning.batch import Output
from mtl_lightning.bounds import DropRate, Sizes
from mtl_lightning.heads.cascade import only_parent
from mtl_lightning.heads.probability import product_logit, rate_logit, served
from mtl_lightning.heads.tower import Tower
from mtl_lightning.interfaces import Head, Task
from mtl_lightning.layers.mlp import Activation


class ESMMHead(Head):
    """p_t = p_parent · σ(tower(h)), supervised where the parent is: on all impressions.

    The task's label is the joint event (click and conversion) and is known for every impression. The tower's own
    output is the conditional probability (of a conversion after a click); it is never supervised on clicks alone.
    The product never exceeds the parent's probability, so a funnel of such heads is monotone.

    Source: Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, equations 2 to 4.

    Args:
        task: A binary task with one parent. If both means are known, the bias starts at their ratio's log-odds.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        hidden: Layer sizes of the tower.
        activation: Activation of the tower.
        dropout: Dropout in the tower.

    Shapes: h [B, H] → logit [B, 1] of the joint event; ``extra["conditional"]`` [B, 1], the conditional log-odds.

    Raises:
        MtlError: If there isn't exactly one parent, or it isn't binary.

    Example:
        >>> import torch
        >>> from mtl_lightning.heads.binary import BinaryHead
        >>> click = BinaryHead(Task(name="click", kind="binary", label="click"), 8, {})
        >>> task = Task(name="sale", kind="binary", label="sale", parents=("click",))
        >>> head = ESMMHead(task, 8, {"click": click})
        >>> parent = Output(torch.zeros(3, 1))
        >>> bool((head.predict(head(torch.zeros(3, 8), {"click": parent}, {}), {}) <= 0.5).all())
        True
    """

    kinds = frozenset({"binary"})
    loss: ClassVar[str] = "bce"
    everywhere: ClassVar[str] = "remove observed_when, the label is 0 there; or take escm2 or dcmt"
    """What else to do where labels are known only after the parent's event; empty if the head can learn from these."""

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
        self.parent, parent = only_parent("esmm", task, parents)
        # A label that is known only where something happened has the conditional rate as its mean.
        conditional = task.observed_when is not None
        self.start = rate_logit(task.mean) if conditional else rate_logit(task.mean, parent.mean)
        known = conditional and task.mean is not None and parent.mean is not None
        self.mean = task.mean * parent.mean if known else task.mean  # type: ignore[operator]
        self._tower = partial(Tower, width, hidden, 1, activation=activation, dropout=dropout)
        self.tower = self.another(self.start)
        self.hidden_width = self.tower.width

    def another(self, start: float) -> Tower:
        """A tower like this head's own.

        Args:
            start: Log-odds that it starts from.
        """
        return self._tower(start=start)

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the joint event."""
        conditional, hidden = self.tower(h)
        parent = parents[self.parent]
        extra = {"conditional": conditional}
        if "served" in parent.extra:
            extra["served"] = product_logit(served(parent), conditional)
        return Output(product_logit(parent.logit, conditional), hidden, extra=extra)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of the joint event, [B]."""
        return served(output)[:, 0].sigmoid()
