"""Robust weighting by excess risk (He et al. 2024)."""

import sys
from typing import Unpack

import torch
from torch import Tensor

from mtl_lightning.interfaces import NonNegativeInt, PositiveFloat, Step
from mtl_lightning.weighters.bases.gramian import Scope, SeamOptions
from mtl_lightning.weighters.bases.offset import OffsetWeighter


class ExcessMTL(OffsetWeighter):
    """Larger weights for tasks far from their optimum, however large the label noise makes their loss.

    The excess risk is estimated as ``E_t = g_tᵀ H_t⁻¹ g_t`` with the diagonal ``H_t = √Σ_k g_t²`` summed over steps. It
    is divided by its mean over the first ``warmup`` steps, and ``w_t ← w_t exp(η E_t) / Σ_s w_s exp(η E_s)``. At the
    seam g is the gradient by an offset of z. As in the paper the weights multiply the losses, for the whole model.

    Args:
        tasks: Names of the tasks.
        learning_rate: Step size η of the weights.
        warmup: Steps with equal weights over which the first excess risk is averaged.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        He, Zhou, Zhao, "Robust Multi-Task Learning with Excess Risks", ICML 2024, equations 6, 7 and 9, section 3.2.

    Example:
        >>> weighter = ExcessMTL(("a", "b"), learning_rate=1.0, warmup=1)
        >>> weighter.weights(torch.diag(torch.tensor([1.0, 4.0])).double()).tolist()  # the first excess risks
        [0.5, 0.5]
        >>> [round(x, 3) for x in weighter.weights(torch.diag(torch.tensor([1.0, 2.0])).double()).tolist()]
        [0.622, 0.378]
    """

    most_on_device = sys.maxsize
    task_weights: Tensor
    initial: Tensor
    steps: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        learning_rate: PositiveFloat = 0.01,
        warmup: NonNegativeInt = 100,
        scope: Scope = "model",
        rescale: bool = True,
        **options: Unpack[SeamOptions],
    ) -> None:
        super().__init__(tasks, scope=scope, rescale=rescale, **options)
        self.learning_rate = learning_rate
        self.warmup = max(warmup, 1)
        count = len(self.tasks)
        self.register_buffer("task_weights", torch.full((count,), 1 / count, dtype=torch.float64))
        self.register_buffer("initial", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def inner_products(self, step: Step) -> Tensor:
        """Excess risks on the diagonal: inner products in the metric of the inverse curvature."""
        squares = self.gradient(step) ** 2
        self.track += squares
        return torch.diag((squares / self.track.sqrt().clamp_min(1e-30)).sum(1))

    def weights(self, gramian: Tensor) -> Tensor:
        """One step of the weights; they sum to one."""
        excess, weights, initial = gramian.diagonal(), self.task_weights.to(gramian), self.initial.to(gramian)
        self.steps += 1
        warm = self.steps <= self.warmup
        self.initial.copy_(torch.where(warm, initial + excess / self.warmup, initial))
        relative = torch.where(initial > 0, excess / initial.clamp_min(1e-300), 0.0)
        moved = (weights.clamp_min(1e-300).log() + self.learning_rate * relative).softmax(0)
        weights = torch.where(warm, weights, moved)
        self.task_weights.copy_(weights)
        return weights
