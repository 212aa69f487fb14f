"""Entire-space cascade: the probability of an event as its parent's times a conditional one."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from mtl_lightning.heads.cascade import only_parent
from mtl_lightning.heads.probability import product_logit, rate_logit, served
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, Task


class ESMMHead(TowerHead):
    """p_t = p_parent · σ(tower(h)), supervised on all impressions, as the parent is.

    The task's label is the joint event (click and conversion), which is known for every impression. The tower's own
    output is the conditional probability (of a conversion after a click); it is never supervised on clicks alone. The
    product never exceeds the parent's probability, so a funnel of such heads is monotone.

    Source: Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, equations 2 to 4.

    Args:
        task: A binary task with one parent. If both means are known, the bias starts at the log-odds of their ratio.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 1] of the joint event; ``extra["conditional"]`` [B, 1], the conditional log-odds.

    Raises:
        MtlError: If there is not exactly one parent, or it is not binary.

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

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[TowerOptions]) -> None:
        name, parent = only_parent("esmm", task, parents)
        # A label that is known only where the parent's event happened has the conditional rate as its mean.
        conditional = task.observed_when is not None
        start = rate_logit(task.mean) if conditional else rate_logit(task.mean, parent.mean)
        super().__init__(task, width, parents, 1, start, **options)
        self.parent, self.start = name, start
        if conditional and task.mean is not None and parent.mean is not None:
            self.mean = task.mean * parent.mean

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
