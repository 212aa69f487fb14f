"""A probability from a tower."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, Task


class BinaryHead(TowerHead):
    """Tower whose output is the log-odds of the event: p = σ(w·tower(h) + b).

    Args:
        task: A binary or soft_binary task. If its mean is known, the bias starts at the log-odds of it.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 1], prediction [B], a probability.

    Example:
        >>> import torch
        >>> head = BinaryHead(Task(name="click", kind="binary", label="click"), 8, {})
        >>> head.predict(head(torch.zeros(3, 8), {}, {}), {}).shape
        torch.Size([3])
    """

    kinds = frozenset({"binary", "soft_binary"})
    loss: ClassVar[str] = "bce"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[TowerOptions]) -> None:
        super().__init__(task, width, parents, 1, rate_logit(task.mean), **options)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of the event, [B]."""
        return output.logit[:, 0].sigmoid()
