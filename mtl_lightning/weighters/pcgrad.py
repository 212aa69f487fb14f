"""Gradient surgery (Yu et al. 2020)."""

import sys
from typing import Unpack

import torch
from torch import Tensor

from mtl_lightning.interfaces import Step
from mtl_lightning.training.late import send
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter


class PCGrad(GramianWeighter):
    """The sum of gradients, each projected onto the normal plane of every gradient that it conflicts with.

    ``g_i ← g_i − (g_i·g_j / |g_j|²) g_j`` where ``g_i·g_j < 0``, for the other tasks ``j`` in an order drawn per task
    and step. The result is the sum over i. Every update is a multiple of some ``g_j``, so the Gramian suffices.

    Args:
        tasks: Names of the tasks.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1.

    Example:
        >>> PCGrad(("a", "b")).weights(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]).double()).tolist()
        [2.0, 1.5]
    """

    most_on_device = sys.maxsize

    def __init__(self, tasks: tuple[str, ...], **options: Unpack[GramianOptions]) -> None:
        super().__init__(tasks, **options)
        self.order = torch.arange(len(self.tasks)).repeat(len(self.tasks), 1)

    def begin(self, step: Step) -> None:
        """Draw the order in which each task meets the others, [T, T]."""
        count = len(self.tasks)
        order = torch.stack([torch.randperm(count, generator=step.generator) for _ in self.tasks])
        self.order = send(order, step.values.device)

    def weights(self, gramian: Tensor) -> Tensor:
        """Column sums of the coefficients that the projections give each original gradient."""
        squares, rows = gramian.diagonal(), torch.arange(len(gramian), device=gramian.device)
        coefficients = torch.eye(len(gramian), dtype=gramian.dtype, device=gramian.device)
        for other in self.order.T:  # other[i] is the task that task i meets now
            inner = (gramian[other] * coefficients).sum(1)
            conflict = (inner < 0) & (other != rows) & (squares[other] > 0)
            coefficients[rows, other] -= torch.where(conflict, inner / squares[other], 0.0)
        return coefficients.sum(0)
