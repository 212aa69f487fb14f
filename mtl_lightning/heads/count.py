"""A count from a tower."""

import math
from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, Task


class CountHead(TowerHead):
    """Tower whose output is the logarithm of a Poisson rate: E[y] = exp(w·tower(h) + b).

    Source: McCullagh & Nelder, "Generalized Linear Models", 2nd ed., 1989, chapter 6.

    Args:
        task: A count task. If its mean is known, the rate starts there.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 1], prediction [B], the expected count.

    Example:
        >>> import torch
        >>> head = CountHead(Task(name="clicks", kind="count", label="clicks", mean=2.0), 8, {}, hidden=[])
        >>> round(head.predict(head(torch.zeros(1, 8), {}, {}), {}).item(), 4)
        2.0
    """

    kinds = frozenset({"count"})
    loss: ClassVar[str] = "poisson"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[TowerOptions]) -> None:
        super().__init__(task, width, parents, 1, math.log(task.mean) if task.mean else 0.0, **options)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Expected count, [B], at most e^30: an untrained model must not predict infinity."""
        return output.logit[:, 0].clamp(max=30.0).exp()
