"""Fast adaptive multitask optimization (Liu et al. 2023)."""

import torch
from torch import Tensor

from mtl_lightning.interfaces import NonNegativeFloat, PositiveFloat, PositiveInt, Step
from mtl_lightning.weighters.bases.loss_based import LossWeighter
from mtl_lightning.weighters.bases.negative import LEFT_OUT, NegativeLosses


class FAMO(LossWeighter):
    """Weights under which the logarithms of all losses fall at the same rate, without a gradient per task.

    With ``w = softmax(ξ)`` the weight of task t is ``(w_t / L_t) / Σ_s (w_s / L_s)``. After the update the losses of
    the same batch are computed again, and ξ takes a step of Adam along ``∇_ξ Σ_t w_t (log L_t − log L_t')`` plus
    decay. A task whose loss fell more than the others loses weight. A task without labels in the batch takes no part,
    and its ξ does not change.

    The second forward pass costs about a third of a step. The paper does it at every step (``every=1``). The default,
    every 8th step, costs a few hundredths, but ξ takes fewer steps.

    Args:
        tasks: Names of the tasks.
        learning_rate: Step size of ξ.
        decay: L2 decay of ξ, which pulls the weights back to equal.
        eps: Added to the losses, which must be positive.
        every: Batches from one update of ξ to the next; 1 as in the paper.

    Source:
        Liu, Feng, Stone, Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1, with Adam for ξ
        as in the authors' experiments.

    Example:
        >>> weighter = FAMO(("a", "b"))
        >>> [round(x, 4) for x in weighter.weights(torch.tensor([1.0, 3.0]).double()).tolist()]
        [0.75, 0.25]
        >>> weighter.after_step(torch.tensor([0.5, 3.0]))  # only the first loss fell
        >>> bool(weighter.logits[0] < weighter.logits[1])
        True
    """

    logits: Tensor
    first_moment: Tensor
    second_moment: Tensor
    updates: Tensor
    before: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        learning_rate: PositiveFloat = 0.025,
        decay: NonNegativeFloat = 1e-3,
        eps: NonNegativeFloat = 1e-8,
        every: PositiveInt = 8,
    ) -> None:
        super().__init__(tasks)
        self.every = every
        self.needs_losses_after_step = False
        self._negative = NegativeLosses("famo", self.tasks, LEFT_OUT)
        self.learning_rate = learning_rate
        self.decay = decay
        self.eps = eps
        for name in ("logits", "first_moment", "second_moment", "before"):
            self.register_buffer(name, torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("updates", torch.zeros(len(self.tasks), dtype=torch.int64))

    def begin(self, step: Step) -> None:
        """Request the losses after the update, every ``every`` batches; accumulation delays them."""
        self.needs_losses_after_step |= step.index % self.every == 0

    def weights(self, values: Tensor) -> Tensor:
        """Weights that sum to one. Stores the losses for the comparison after the update."""
        self._negative.check(values)
        self.before.copy_(values)
        shares = torch.where(values > 0, self.logits.double().softmax(0) / (values + self.eps), 0.0)
        return shares / shares.sum().clamp_min(torch.finfo(shares.dtype).tiny)

    def after_step(self, values: Tensor) -> None:
        """One step of Adam on ξ, from the fall of each logarithm."""
        self.needs_losses_after_step = False
        values, before = values.double(), self.before.double()
        present = (values > 0) & (before > 0) & torch.isfinite(values).all() & self.finite
        fall = torch.where(present, ((before + self.eps) / (values + self.eps)).log(), 0.0)
        share = torch.where(present, self.logits.double(), -torch.inf).softmax(0).nan_to_num()
        gradient = share * (fall - (share * fall).sum()) + self.decay * self.logits
        self.updates += present
        first = self.first_moment.lerp(gradient.to(self.first_moment.dtype), 0.1)
        second = self.second_moment.lerp((gradient**2).to(self.second_moment.dtype), 0.001)
        mean, spread = first / (1 - 0.9**self.updates), (second / (1 - 0.999**self.updates)).sqrt()
        logits = self.logits - self.learning_rate * mean / (spread + 1e-8)
        for buffer, new in ((self.first_moment, first), (self.second_moment, second), (self.logits, logits)):
            buffer.copy_(torch.where(present, new, buffer))
