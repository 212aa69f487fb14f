"""Gradient sign dropout (Chen et al. 2020)."""

from typing import Unpack

import torch
from torch import Tensor

from mtl_lightning.interfaces import Share, Step
from mtl_lightning.training.late import send
from mtl_lightning.weighters.bases.jacobian import JacobianOptions, JacobianWeighter


class GradDrop(JacobianWeighter):
    """Gradients of one sign at each entry of the seam; the sign is drawn with the probability that it prevails.

    With the sign purity ``P = ½ (1 + Σ g_t / Σ |g_t|)`` and u uniform on (0, 1), positive gradients pass where ``P >
    u`` and negative ones where ``P < u``. A fraction ``leak`` of each gradient always passes. The paper draws u per
    entry of the activation. Here each coordinate of the seam has one u for all rows of the batch. The draw then does
    not depend on the distribution of rows over processes, and the distribution of each entry is the same.

    Args:
        tasks: Names of the tasks.
        leak: Fraction of each gradient that is never dropped.
        options: Options of :class:`~mtl_lightning.weighters.bases.jacobian.JacobianWeighter`.

    Source:
        Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", NeurIPS 2020,
        algorithm 1 with f the identity, without the sum over the batch that it uses for tasks with separate batches.

    Example:
        >>> weighter = GradDrop(("a", "b"))
        >>> weighter.drawn = torch.tensor([0.9, 0.2])
        >>> weighter.combine(torch.tensor([[[3.0, 3.0]], [[-1.0, -1.0]]])).tolist()  # P = 3/4
        [[-1.0, 3.0]]
    """

    def __init__(self, tasks: tuple[str, ...], *, leak: Share = 0.0, **options: Unpack[JacobianOptions]) -> None:
        super().__init__(tasks, **options)
        self.leak = leak
        self.drawn = torch.zeros(0)

    def begin(self, step: Step) -> None:
        """Draw u, [D]."""
        width = step.jacobian.shape[2]
        self.drawn = torch.rand(width, generator=step.generator, dtype=torch.float64)
        self.drawn = send(self.drawn, step.jacobian.device)

    def combine(self, jacobian: Tensor) -> Tensor:
        """The sum of the gradients that pass, [B, D]."""
        size = jacobian.abs().sum(0)
        purity = torch.where(size > 0, 0.5 * (1 + jacobian.sum(0) / size), 0.5)
        drawn = self.drawn.to(jacobian)
        passes = torch.where(jacobian > 0, purity > drawn, purity < drawn)
        return (torch.where(passes, 1.0, self.leak).to(jacobian) * jacobian).sum(0)
