"""Weighting by learned homoscedastic uncertainty (Kendall, Gal, Cipolla 2018)."""

import torch
from torch import Tensor, nn

from mtl_lightning.interfaces import Step, Weighter
from mtl_lightning.training.rows import HOST
from mtl_lightning.weighters.bases.negative import UNBOUNDED, NegativeLosses


class Uncertainty(Weighter):
    """Learned log-variances ``s_t``: objective ``Σ ½ exp(−s_t) L_t + ½ s_t``.

    For a constant loss the optimum is ``s_t = log L_t``, a weight of ``1 / (2 L_t)``. The log-variance may be negative:
    a clamp at zero would give every task with a loss below ½, such as click rates, the same weight. The log-variance of
    a task without labels in the global batch does not change.

    Args:
        tasks: Names of the tasks.

    Source:
        Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
        Semantics", CVPR 2018, equation 7 with ``s = log σ²``. Losses are expected to be positive; a loss that tends
        to minus infinity (the likelihood of a continuous value) makes the weight grow without bound.

    Example:
        >>> from mtl_lightning.training.step import Step
        >>> weighter = Uncertainty(("a", "b"))
        >>> z = torch.ones(2, 1, requires_grad=True)
        >>> step = Step(torch.stack([z.sum(), 3 * z.sum()]), z, tasks=("a", "b"), index=0, seed=0)
        >>> weighter(step).backward()
        >>> weighter.log_variance.grad.tolist()
        [-0.5, -2.5]
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__(tasks)
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))
        self._negative = NegativeLosses("uncertainty", self.tasks, UNBOUNDED)

    def forward(self, step: Step) -> Tensor:
        """The objective, a scalar."""
        if step.index % 100 == 0 or step.values.device.type not in HOST:
            self._negative.check(step.values)
        spread = self.log_variance.to(step.losses.dtype)
        present = step.values != 0
        return 0.5 * (torch.exp(-spread) * step.losses + torch.where(present, spread, 0.0)).sum()

    def report(self) -> dict[str, float]:
        """The weight ``½ exp(−s)`` of each task."""
        return dict(zip(self.tasks, (0.5 * torch.exp(-self.log_variance.detach())).tolist(), strict=True))
