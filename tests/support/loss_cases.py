"""Losses of a task of any kind, and targets with float64 labels."""

from typing import Any

import torch

from mtl_lightning.interfaces import Loss, Target, Task
from mtl_lightning.plugins import registry


def make_loss(name: str, kind: str = "binary", parents: tuple[str, ...] = (), **options: Any) -> Loss:
    """A registered loss of a task ``t``, with three classes if its kind has classes."""
    task = Task(name="t", kind=kind, label="t", classes=3 if kind in ("multiclass", "ordinal") else 1, parents=parents)
    loss: Loss = registry().resolve("loss", name)(task, **options)
    return loss


def make_target(labels: Any, mask: Any = None, **options: Any) -> Target:
    """A target with labels [B] or [B, K]; all labels are known without a mask."""
    label = torch.tensor(labels, dtype=torch.float64).view(len(labels), -1)
    known = torch.ones(len(labels), dtype=torch.bool) if mask is None else torch.tensor(mask)
    return Target(label=label, mask=known, **options)
