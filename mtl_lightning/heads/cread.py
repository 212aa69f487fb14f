"""Watch time from buckets."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from mtl_lightning.heads.restoration import restore
from mtl_lightning.heads.tower import TowerHead, TowerOptions, positive_mean
from mtl_lightning.interfaces import Head, MtlError, Output, PositiveInt, Task


class CREADHead(TowerHead):
    """A classifier per threshold, P(y > t_m), and the time restored from them, E[min(y, t_M)].

    The paper sums P(y > t_m) times the bucket's width. Here the survival within a bucket is the mean of the survival at
    its two edges (:func:`~mtl_lightning.heads.restoration.restore`), which keeps the mean where buckets are wide.

    Source: Sun et al., "CREAD: A Classification-Restoration Framework with Error Adaptive Discretization for Watch
    Time Prediction", AAAI 2024. The thresholds are given, or quantiles of an exponential distribution with the
    task's mean; the paper searches between equal width and equal frequency.

    Args:
        task: A task whose label is a time or value of at least 0.
        width: Width H of the representation.
        parents: Ignored.
        edges: Ascending thresholds t_1 … t_M in the label's unit; t_0 is 0. Empty for ``buckets`` quantiles
            of an exponential distribution with the task's mean.
        buckets: Number M of default thresholds.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, M + 1] of P(y > t_m), m = 0 … M; prediction [B] in the label's unit;
    ``extra["edges"]`` [M + 1], ``extra["restored"]`` [B, 1].

    Raises:
        MtlError: If the edges do not ascend from above zero.

    Example:
        >>> import torch
        >>> head = CREADHead(Task(name="watch", kind="regression", label="s"), 8, {}, edges=[10.0, 30.0])
        >>> sure = Output(torch.full((1, 3), torch.inf))
        >>> head.predict(sure, {}).item()
        30.0
    """

    kinds = frozenset({"regression", "value", "count"})
    loss: ClassVar[str] = "cread"
    nonnegative = True
    edges: Tensor

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        edges: Sequence[float] = (),
        buckets: PositiveInt = 16,
        **options: Unpack[TowerOptions],
    ) -> None:
        mean = positive_mean(task)
        # Quantiles of an exponential distribution; one hundredth of the mass is above the last bucket.
        chosen = list(edges) or [-mean * math.log(1 - 0.99 * (m + 1) / buckets) for m in range(buckets)]
        if min(b - a for a, b in pairwise([0.0, *chosen])) <= 0:
            raise MtlError(f"heads.{task.name}.edges: not ascending from above zero", "such as [10, 30, 60]")
        super().__init__(task, width, parents, len(chosen) + 1, **options)
        self.register_buffer("edges", torch.tensor([0.0, *chosen]), persistent=False)
        survival = torch.exp(-self.edges / mean).clamp(0.01, 0.99)
        with torch.no_grad():
            self.tower.output.bias.copy_(torch.logit(survival))

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of exceeding each threshold."""
        logit, hidden = self.tower(h)
        restored = restore(logit, self.edges).unsqueeze(1)
        return Output(logit, hidden, extra={"edges": self.edges, "restored": restored})

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Restored time, [B]."""
        return restore(output.logit, self.edges)
