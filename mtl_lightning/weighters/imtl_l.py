"""Impartial losses (Liu et al. 2021)."""

import torch
from torch import Tensor, nn

from mtl_lightning.interfaces import Step, Weighter
from mtl_lightning.training.rows import HOST
from mtl_lightning.weighters.bases.negative import UNBOUNDED, NegativeLosses


class IMTLL(Weighter):
    """Learned scales ``s_t``: objective ``Σ exp(s_t) L_t − s_t``, under which all scaled losses tend to one.

    For a constant loss the optimum is a weight of ``1 / L_t``. Losses must be positive. The scale of a task without
    labels in the global batch does not change.

    Args:
        tasks: Names of the tasks.

    Source:
        Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, equation 6 with base e.

    Example:
        >>> from mtl_lightning.training.step import Step
        >>> weighter = IMTLL(("a", "b"))
        >>> z = torch.ones(2, 1, requires_grad=True)
        >>> step = Step(torch.stack([z.sum(), 3 * z.sum()]), z, tasks=("a", "b"), index=0, seed=0)
        >>> weighter(step).backward()
        >>> weighter.log_scale.grad.tolist()
        [1.0, 5.0]
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__(tasks)
        self.log_scale = nn.Parameter(torch.zeros(len(self.tasks)))
        self._negative = NegativeLosses("imtl_l", self.tasks, UNBOUNDED)

    def forward(self, step: Step) -> Tensor:
        """The objective, a scalar."""
        if step.index % 100 == 0 or step.values.device.type not in HOST:
            self._negative.check(step.values)
        scale = self.log_scale.to(step.losses.dtype)
        present = step.values != 0
        return (scale.exp() * step.losses - torch.where(present, scale, 0.0)).sum()

    def report(self) -> dict[str, float]:
        """The weight ``exp(s)`` of each task."""
        return dict(zip(self.tasks, self.log_scale.detach().exp().tolist(), strict=True))
