"""Gradient normalization (Chen et al. 2018)."""

import sys
from typing import Unpack

import torch
from torch import Tensor

from mtl_lightning.interfaces import NonNegativeFloat, PositiveFloat, Step
from mtl_lightning.weighters.bases.gramian import GramianWeighter, Scope, SeamOptions


class GradNorm(GramianWeighter):
    """Weights under which tasks that learn slowly get larger gradients.

    With ``G_t = w_t |g_t|`` at the seam, ``Ḡ`` its mean, and the relative inverse training rate
    ``r_t = (L_t / L_t(0)) / mean_s(L_s / L_s(0))``, the target of task t is ``Ḡ r_t^α``. The weights descend
    ``Σ |G_t − Ḡ r_t^α|`` with the targets held constant: ``w_t ← w_t − η sign(G_t − Ḡ r_t^α) |g_t| / Ḡ``. They are
    then scaled to sum to T. Dividing by Ḡ makes the step size independent of the scale of the losses and of the batch.

    Args:
        tasks: Names of the tasks.
        alpha: Strength α of the restoring force; 0 makes the norms equal.
        learning_rate: Step size η of the weights.
        floor: Lower bound of a weight before scaling.
        scope: Parameters that the weights apply to. The paper weights the losses, so towers see the weights too.
        gradients_at: Where gradients are taken, as for every Gramian weighter. The paper takes the last shared layer.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
        Multitask Networks", ICML 2018, equations 1 and 2, algorithm 1. L(0) is each task's first loss with a label.

    Example:
        >>> weighter = GradNorm(("a", "b"), learning_rate=0.1)
        >>> weighter.current = torch.tensor([1.0, 1.0]).double()
        >>> weighter.weights(torch.diag(torch.tensor([1.0, 9.0])).double()).tolist()  # the weights before the update
        [1.0, 1.0]
        >>> [round(x, 3) for x in weighter.task_weights.tolist()]
        [1.105, 0.895]
    """

    most_on_device = sys.maxsize
    initial: Tensor
    task_weights: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        alpha: float = 1.5,
        learning_rate: PositiveFloat = 0.025,
        floor: NonNegativeFloat = 1e-3,
        scope: Scope = "model",
        **options: Unpack[SeamOptions],
    ) -> None:
        super().__init__(tasks, scope=scope, **options)
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.floor = floor
        self.current = torch.zeros(len(self.tasks), dtype=torch.float64)
        self.register_buffer("initial", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("task_weights", torch.ones(len(self.tasks), dtype=torch.float64))

    def begin(self, step: Step) -> None:
        """Store the values of the losses."""
        self.current = step.values.double()

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights of this step. The weights of the next step are stored in the buffer."""
        before, initial = self.task_weights.to(gramian).clone(), self.initial.to(gramian)
        initial = torch.where(initial > 0, initial, self.current.clamp_min(0))
        norms = gramian.diagonal().clamp_min(0).sqrt()
        seen = (initial > 0) & (self.current > 0) & (norms > 0)
        self.initial.copy_(initial)
        ratio = torch.where(seen, self.current / initial, 0.0)
        scaled = torch.where(seen, before * norms, 0.0)
        mean = scaled.sum() / seen.sum()
        target = mean * (ratio * seen.sum() / ratio.sum()) ** self.alpha
        after = before - self.learning_rate * torch.sign(scaled - target) * norms / mean
        after = torch.where(seen, after.clamp_min(self.floor), before)
        self.task_weights.copy_(torch.where(seen.any(), after * (len(after) / after.sum()), before))
        return before
