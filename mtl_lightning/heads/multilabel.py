"""Several labels that may hold at once."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, Task


class MultilabelHead(TowerHead):
    """Tower with an output per label: p_k = σ(w_k·tower(h) + b_k).

    Args:
        task: A multilabel task; its ``classes`` is K. If the mean over its labels is known, biases start there.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, K], prediction [B, K], probabilities.

    Example:
        >>> import torch
        >>> head = MultilabelHead(Task(name="tags", kind="multilabel", label="tags", classes=3), 8, {})
        >>> head.predict(head(torch.zeros(2, 8), {}, {}), {}).shape
        torch.Size([2, 3])
    """

    kinds = frozenset({"multilabel"})
    loss: ClassVar[str] = "bce"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[TowerOptions]) -> None:
        super().__init__(task, width, parents, task.classes, rate_logit(task.mean), **options)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability per label, [B, K]."""
        return output.logit.sigmoid()
