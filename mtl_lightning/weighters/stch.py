"""Smooth Tchebycheff scalarization (Lin et al. 2024)."""

import torch
from torch import Tensor

from mtl_lightning.bounds import NonNegativeInt, PositiveFloat
from mtl_lightning.weighters.bases.loss_based import LossWeighter
from mtl_lightning.weighters.bases.negative import LEFT_OUT, NegativeLosses


class STCH(LossWeighter):
    """A smooth maximum of the losses relative to a nadir: ``T μ log Σ exp(log(L_t / N_t) / μ)``.

    The task that has improved least on its nadir weighs most; with μ → 0 only this task counts. The nadir is the
    average loss over the first ``warmup`` steps, in which the objective is ``Σ log L_t``. The gradient equals the
    gradient of ``Σ w_t L_t`` with ``w_t = T softmax(log(L / N) / μ)_t / L_t``. Losses must be positive. A task without
    labels takes no part.

    Args:
        tasks: Names of the tasks.
        mu: Smoothness μ; towards 0 only the worst task counts.
        warmup: Steps over which the nadir is averaged.

    Source:
        Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024, equation 6, with the
        logarithms, nadir and warm-up of the authors' multi-task experiments.

    Example:
        >>> weighter = STCH(("a", "b"), mu=1.0, warmup=1)
        >>> weighter.weights(torch.tensor([1.0, 4.0]).double()).tolist()
        [1.0, 0.25]
        >>> weighter.weights(torch.tensor([1.0, 2.0]).double()).tolist()  # relative losses 1 and 1/2
        [1.3333333333333333, 0.3333333333333333]
    """

    total: Tensor
    seen: Tensor
    steps: Tensor

    def __init__(self, tasks: tuple[str, ...], *, mu: PositiveFloat = 1.0, warmup: NonNegativeInt = 200) -> None:
        super().__init__(tasks)
        self.mu = mu
        self.warmup = warmup
        self._negative = NegativeLosses("stch", self.tasks, LEFT_OUT)
        self.register_buffer("total", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(len(self.tasks), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weights(self, values: Tensor) -> Tensor:
        """The derivative of the objective by each loss."""
        self._negative.check(values)
        present = values > 0
        safe = torch.where(present, values, 1.0)
        self.steps += 1
        warm = self.steps <= self.warmup
        self.total += torch.where(present & warm, values, 0.0)
        self.seen += present & warm
        nadir = torch.where(self.seen > 0, self.total / self.seen.clamp_min(1), 1.0)
        relative = torch.where(present, (safe / nadir).log() / self.mu, -torch.inf)
        shares = torch.where(present, relative.softmax(0), 0.0)  # which is NaN if no task is present
        return torch.where(warm, torch.where(present, 1 / safe, 0.0), len(values) * shares / safe)
