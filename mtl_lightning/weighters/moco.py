"""Multi-objective gradient correction (Fernando et al. 2023)."""

import sys
from typing import Unpack

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.interfaces import NonNegativeFloat, Share, Step
from mtl_lightning.weighters.bases.gramian import GramianOptions
from mtl_lightning.weighters.bases.offset import OffsetWeighter
from mtl_lightning.weighters.bases.quadratic import simplex_projection


class MoCo(OffsetWeighter):
    """MGDA's weights from gradients that are tracked over steps, so that the noise of one batch does not bias them.

    ``y_t ← y_t − β (y_t − g_t)``, then ``w ← Π(w − γ (Y Yᵀ + ρ I) w)`` with the projection Π onto the simplex. At the
    seam the gradient by an offset of z is tracked. ``Y Yᵀ`` is scaled to mean diagonal 1, so that γ and ρ do not depend
    on the scale of the losses. The weights are applied to the gradients of the step.

    Args:
        tasks: Names of the tasks.
        beta: Step size β of the tracked gradients.
        gamma: Step size γ of the weights.
        rho: Regularization ρ towards equal weights.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Approach",
        ICLR 2023, equations 6 and 7, algorithm 1.

    Example:
        >>> weighter = MoCo(("a", "b"), gamma=0.5, rho=0.0)
        >>> weighter.weights(torch.diag(torch.tensor([0.5, 1.5])).double()).tolist()
        [0.625, 0.375]
    """

    skips_absent = True
    most_on_device = sys.maxsize
    task_weights: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        beta: Share = 0.1,
        gamma: NonNegativeFloat = 0.1,
        rho: NonNegativeFloat = 0.1,
        **options: Unpack[GramianOptions],
    ) -> None:
        super().__init__(tasks, **options)
        self.beta = beta
        self.gamma = gamma
        self.rho = rho
        self.register_buffer("task_weights", torch.full((len(self.tasks),), 1 / len(self.tasks), dtype=torch.float64))

    def inner_products(self, step: Step) -> Tensor:
        """Inner products of the tracked gradients; a task without a gradient in this step keeps its own."""
        gradient = self.gradient(step)
        present = gradient.abs().amax(1, keepdim=True) > 0
        self.track.lerp_(torch.where(present, gradient, self.track), self.beta)
        return self.track @ self.track.T

    def weights(self, gramian: Tensor) -> Tensor:
        """One step of the weights of the tasks that have had a gradient; they sum to one."""
        weights = self.task_weights.to(gramian)[self.present]
        slope = gramian @ weights / gramian.diagonal().mean() + self.rho * weights
        weights = simplex_projection(weights - self.gamma * slope)
        self.task_weights[self.present] = weights.to(self.task_weights)
        return weights

    @override
    def weights_of_present(self, gramian: Tensor, present: Tensor) -> Tensor:
        weights = torch.where(present, self.task_weights.to(gramian), 0.0)
        slope = gramian @ weights / (gramian.diagonal().sum() / present.sum()) + self.rho * weights
        weights = simplex_projection(torch.where(present, weights - self.gamma * slope, -torch.inf))
        self.task_weights.copy_(torch.where(present, weights, self.task_weights))
        return weights
