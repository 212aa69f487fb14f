"""One of several classes from a tower."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, Task


class MulticlassHead(TowerHead):
    """Tower with an output per class: p = softmax(W tower(h) + b).

    Args:
        task: A multiclass task; its ``classes`` is K.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, K], prediction [B, K], probabilities.

    Example:
        >>> import torch
        >>> head = MulticlassHead(Task(name="kind", kind="multiclass", label="kind", classes=3), 8, {})
        >>> head.predict(head(torch.zeros(2, 8), {}, {}), {}).shape
        torch.Size([2, 3])
    """

    kinds = frozenset({"multiclass"})
    loss: ClassVar[str] = "ce"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[TowerOptions]) -> None:
        super().__init__(task, width, parents, task.classes, **options)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability per class, [B, K]."""
        return output.logit.softmax(1)
