"""Multi-objective gradients with double sampling (Chen et al. 2023)."""

import sys
from typing import Unpack

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.bounds import NonNegativeFloat
from mtl_lightning.weighters.bases.gramian import GramianOptions
from mtl_lightning.weighters.bases.paired import PairedWeighter
from mtl_lightning.weighters.bases.quadratic import simplex_projection


class MoDo(PairedWeighter):
    """MGDA's weights in small steps, from products of two batches, which the noise of one batch does not bias.

    ``w ← Π(w − γ (G₁₂ + ρ I) w)`` with the projection Π onto the simplex and ``G₁₂ = J₁ J₂ᵀ`` between this batch and
    the previous one. Its scale is explained in :class:`~mtl_lightning.weighters.bases.paired.PairedWeighter`. The paper
    draws further batches for each step. The weights are applied to the gradients of the step.

    Args:
        tasks: Names of the tasks.
        gamma: Step size γ of the weights.
        rho: Regularization ρ towards equal weights.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Chen, Fernando, Ying, Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization and
        Conflict-Avoidance", NeurIPS 2023, algorithm 1.

    Example:
        >>> weighter = MoDo(("a", "b"), gamma=0.5, rho=0.0)
        >>> weighter.weights(torch.diag(torch.tensor([0.5, 1.5])).double()).tolist()
        [0.625, 0.375]
    """

    most_on_device = sys.maxsize
    task_weights: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        gamma: NonNegativeFloat = 0.1,
        rho: NonNegativeFloat = 0.1,
        **options: Unpack[GramianOptions],
    ) -> None:
        super().__init__(tasks, **options)
        self.gamma = gamma
        self.rho = rho
        self.register_buffer("task_weights", torch.full((len(self.tasks),), 1 / len(self.tasks), dtype=torch.float64))

    def weights(self, gramian: Tensor) -> Tensor:
        """One step of the weights of the tasks that have had a gradient; they sum to one."""
        weights = self.task_weights.to(gramian)[self.present]
        weights = simplex_projection(weights - self.gamma * (gramian @ weights + self.rho * weights))
        self.task_weights[self.present] = weights.to(self.task_weights)
        return weights

    @override
    def weights_of_present(self, gramian: Tensor, present: Tensor) -> Tensor:
        weights = torch.where(present, self.task_weights.to(gramian), 0.0)
        moved = weights - self.gamma * (gramian @ weights + self.rho * weights)
        weights = simplex_projection(torch.where(present, moved, -torch.inf))
        self.task_weights.copy_(torch.where(present, weights, self.task_weights))
        return weights
