"""Gradient vaccine (Wang et al. 2021)."""

import sys
from typing import Unpack

import torch
from torch import Tensor

from mtl_lightning.interfaces import Share, Step
from mtl_lightning.training.late import send
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter


class GradVac(GramianWeighter):
    """The sum of gradients, each turned until its cosine with every other one reaches that pair's running mean.

    Task i meets the other tasks j in an order drawn per step. Let φ be the cosine of the current ``g_i`` and ``g_j``,
    and ``φ̂`` the pair's mean. Where ``φ < φ̂``, ``g_i ← g_i + g_j |g_i| (φ̂ √(1−φ²) − φ √(1−φ̂²)) / (|g_j| √(1−φ̂²))``;
    then ``φ̂ ← (1−β) φ̂ + β φ``. The result is the sum over i. With β = 0 the method is PCGrad.

    Args:
        tasks: Names of the tasks.
        beta: Weight β of the new cosine in the running mean.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively Multilingual
        Models", ICLR 2021, equations 2 and 3, algorithm 1.

    Example:
        >>> weighter = GradVac(("a", "b"), beta=0.0)
        >>> [round(x, 3) for x in weighter.weights(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]).double()).tolist()]
        [2.0, 1.5]
    """

    most_on_device = sys.maxsize
    targets: Tensor

    def __init__(self, tasks: tuple[str, ...], *, beta: Share = 0.01, **options: Unpack[GramianOptions]) -> None:
        super().__init__(tasks, **options)
        self.beta = beta
        count = len(self.tasks)
        self.order = torch.arange(max(count - 1, 0)).repeat(count, 1)
        self.register_buffer("targets", torch.zeros(count, count, dtype=torch.float64))

    def begin(self, step: Step) -> None:
        """Draw the order in which each task meets the others, [T, T − 1], as positions among the others."""
        count = len(self.tasks) - 1
        order = torch.stack([torch.randperm(count, generator=step.generator) for _ in self.tasks])
        self.order = send(order, step.values.device)

    def weights(self, gramian: Tensor) -> Tensor:
        """Column sums of the coefficients that the turns give each original gradient."""
        rows, norms = torch.arange(len(gramian), device=gramian.device), gramian.diagonal().sqrt()
        targets = self.targets.to(gramian).clone()
        coefficients = torch.eye(len(gramian), dtype=gramian.dtype, device=gramian.device)
        for position in self.order.T:
            other = position + (position >= rows)  # other[i] is the task that task i meets now
            inner = (gramian[other] * coefficients).sum(1)
            length = (coefficients @ gramian * coefficients).sum(1).clamp_min(0).sqrt()
            known = (length > 0) & (norms[other] > 0)
            cosine = torch.where(known, inner / (length * norms[other]), 0.0).clamp(-1, 1)
            target = targets[rows, other]
            sine, target_sine = (1 - cosine**2).sqrt(), (1 - target**2).clamp_min(1e-12).sqrt()
            turn = length * (target * sine - cosine * target_sine) / (norms[other] * target_sine)
            coefficients[rows, other] += torch.where(known & (cosine < target), turn, 0.0)
            targets[rows, other] = torch.where(known, target + self.beta * (cosine - target), target)
        self.targets.copy_(targets)
        return coefficients.sum(0)
