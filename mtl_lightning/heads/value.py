"""A purchase value: mostly zero, otherwise with a long tail."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, Task
from mtl_lightning.losses.ziln import log_deviation


class ValueHead(TowerHead):
    """Zero-inflated log-normal: y is 0 with probability 1 − p, otherwise log y ~ N(μ, σ²); E[y] = p exp(μ + σ²/2).

    Three outputs: the log-odds of p, μ, and s with σ = softplus(s) + 0.001. μ is relative to the logarithm of the
    task's mean.

    Source: Wang, Liu & Miao, "A Deep Probabilistic Model for Customer Lifetime Value Prediction", 2019
    (arXiv 1912.07753).

    Args:
        task: A value task, its label at least 0.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 3] (log-odds, μ, s), prediction [B], the expected value in the label's unit.

    Example:
        >>> import torch
        >>> head = ValueHead(Task(name="spend", kind="value", label="spend", mean=33.0), 8, {})
        >>> head(torch.zeros(2, 8), {}, {}).logit.shape
        torch.Size([2, 3])
    """

    kinds = frozenset({"value"})
    loss: ClassVar[str] = "ziln"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[TowerOptions]) -> None:
        super().__init__(task, width, parents, 3, **options)

    def link(self, label: Tensor) -> Tensor:
        """The label in units of the task's mean."""
        return label / self.unit

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Expected value, [B]."""
        odds, location, spread = output.logit.unbind(1)
        sigma = log_deviation(spread)
        # Capped far above any sensible value: an untrained model must not give an infinite expectation.
        expected = (location + sigma.square() / 2).clamp(max=30.0).exp()
        return odds.sigmoid() * expected * self.unit
