"""Scales on which regression works: a transform of the label, then standardisation."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mtl_lightning.interfaces import Task


class Scale(Protocol):
    """An invertible map between labels and the space in which a tower works."""

    def forward(self, label: Tensor) -> Tensor:
        """From the label's unit to the tower's."""

    def inverse(self, value: Tensor) -> Tensor:
        """From the tower's unit to the label's."""


@dataclass(frozen=True)
class Linear:
    """(y − center) / scale."""

    center: float
    scale: float

    def forward(self, label: Tensor) -> Tensor:
        """From the label's unit to the tower's."""
        return (label - self.center) / self.scale

    def inverse(self, value: Tensor) -> Tensor:
        """From the tower's unit to the label's."""
        return value * self.scale + self.center


@dataclass(frozen=True)
class Log1p:
    """(log(1 + y) − center) / scale, for labels of at least 0; the inverse is between 0 and e^30."""

    center: float
    scale: float

    def forward(self, label: Tensor) -> Tensor:
        """From the label's unit to the tower's."""
        return (label.clamp(min=0).log1p() - self.center) / self.scale

    def inverse(self, value: Tensor) -> Tensor:
        """From the tower's unit to the label's."""
        return (value * self.scale + self.center).clamp(0, 30).expm1()


def linear_scale(task: Task) -> Linear:
    """Standardisation by the task's fitted mean and scale; the identity where they are unknown.

    Example:
        >>> import torch
        >>> scale = linear_scale(Task(name="dwell", kind="regression", label="s", mean=60.0, scale=20.0))
        >>> scale.forward(torch.tensor([100.0])), scale.inverse(torch.tensor([2.0]))
        (tensor([2.]), tensor([100.]))
    """
    return Linear(task.mean or 0.0, task.scale or 1.0)


def log1p_scale(task: Task) -> Log1p:
    """Standardised log(1 + y), with the moments of a log-normal 1 + y that has the task's mean and scale.

    Example:
        >>> import torch
        >>> scale = log1p_scale(Task(name="dwell", kind="regression", label="s", mean=60.0, scale=20.0))
        >>> label = torch.tensor([0.0, 7.0, 3600.0])
        >>> torch.allclose(scale.inverse(scale.forward(label)), label, atol=1e-4)
        True
    """
    if task.mean is None or not task.scale or task.mean <= 0:
        return Log1p(0.0, 1.0)
    variance = math.log1p((task.scale / (1 + task.mean)) ** 2)
    return Log1p(math.log1p(task.mean) - variance / 2, math.sqrt(variance))


SCALES: dict[str, Callable[[Task], Scale]] = {"none": linear_scale, "log1p": log1p_scale}
