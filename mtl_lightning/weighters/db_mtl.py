"""Dual-balancing (Lin et al. 2023)."""

import sys
from typing import Unpack

import torch
from torch import Tensor

from mtl_lightning.interfaces import DropRate, NonNegativeFloat, Step
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter
from mtl_lightning.weighters.bases.negative import LEFT_OUT, NegativeLosses

SMALLEST = 1e-8
"""Lower bound of the losses in divisions. The authors' code adds it to every loss."""


class DBMTL(GramianWeighter):
    """Every parameter descends the logarithms of the losses; below z their gradients are scaled to the largest norm.

    With ``g_t = ∇_z log L_t = ∇_z L_t / L_t`` and running means ``n_t`` of ``|g_t|``, whose decay at step k is
    ``β / k^σ``, the gradient at z is ``max_s n_s Σ g_t / n_t``: weights ``w_t = max_s n_s / (n_t L_t)`` of the losses.
    Above z every parameter descends ``Σ log L_t``. The paper averages gradients; at the seam the rows differ from batch
    to batch, so norms are averaged. A task whose loss is not positive takes no part in the step.

    In the paper all shared parameters, experts included, get the scaled gradients, and task-specific layers get the
    gradient of their own ``log L_t``. With experts above z, ``scope="encoder"`` differs from it in the experts, which
    get the plain sum of the log-losses' gradients. ``gradients_at="parameters"`` follows it for dense weights.

    Args:
        tasks: Names of the tasks.
        beta: Decay β of the running means; 0 uses the norms of the step.
        sigma: Exponent σ of the decay at step k, ``beta / k^sigma``.
        scope: Parameters that the scaling applies to. ``encoder``: z and everything below it; parameters above z
            descend the plain sum of the logarithms. ``model``: every parameter descends ``Σ w_t L_t``.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Lin et al., "Dual-Balancing for Multi-Task Learning", 2023 (arXiv 2308.12029), sections 3.1 and 3.2, algorithm
        1.

    Example:
        >>> weighter = DBMTL(("a", "b"))
        >>> weighter.current = torch.tensor([1.0, 2.0]).double()
        >>> weighter.weights(torch.diag(torch.tensor([1.0, 16.0])).double()).tolist()  # norms of log-losses 1 and 2
        [2.0, 0.5]
    """

    most_on_device = sys.maxsize
    norms: Tensor
    updates: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        beta: DropRate = 0.9,
        sigma: NonNegativeFloat = 0.5,
        **options: Unpack[GramianOptions],
    ) -> None:
        super().__init__(tasks, **options)
        self.beta = beta
        self.sigma = sigma
        self._negative = NegativeLosses("db_mtl", self.tasks, LEFT_OUT)
        self.current = torch.ones(len(self.tasks), dtype=torch.float64)
        self.register_buffer("norms", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def begin(self, step: Step) -> None:
        """Store the values of the losses."""
        self.current = step.values.double()

    def above(self, step: Step) -> Tensor:
        """``1 / L_t``, under which what is above z descends ``Σ log L_t``; zero for a task without a positive loss."""
        return torch.where(self.current > 0, 1 / self.current.clamp_min(SMALLEST), 0.0)

    def weights(self, gramian: Tensor) -> Tensor:
        """The weights; zero for a task without a gradient or a positive loss."""
        self._negative.check(self.current)
        present = (gramian.diagonal() > 0) & (self.current > 0)
        losses = torch.where(present, self.current.clamp_min(SMALLEST), 1.0)
        now, before = gramian.diagonal().clamp_min(0).sqrt() / losses, self.norms.to(gramian)
        self.updates += 1
        decay = self.beta / self.updates.double() ** self.sigma
        mean = torch.where(before > 0, now + decay * (before - now), now)
        norms = torch.where(present, mean, before)
        self.norms.copy_(norms)
        return torch.where(present, norms.max() / (norms * losses), 0.0)
