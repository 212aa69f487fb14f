"""Relations of the tasks' gradients during training: agreement, conflict, size."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mtl_lightning.analysis.intervals import half_width
from mtl_lightning.interfaces import Step

ADDED = ("squares", "products", "previous", "measured")
"""Sums that checkpoints of earlier versions do not have; they then start at zero."""
LEAST = 20
"""Smallest number of samples of a pair for a statement about conflict."""


class GradientRelations:
    """Running cosines between the tasks' gradients at the seam, from sampled steps.

    Gradients of two tasks conflict in a step when their inner product is negative (Yu et al., "Gradient Surgery for
    Multi-Task Learning", NeurIPS 2020, definition 1). A step counts for a pair only if both gradients are non-zero.

    Single steps are mostly noise, and the inner product of unrelated gradients has either sign equally often. Two
    tasks are therefore reported as conflicting only after 20 samples, and only if the 95% interval of their mean
    cosine is below zero. The interval allows for correlation between successive samples, see
    :func:`~mtl_lightning.analysis.intervals.half_width`.

    Args:
        tasks: Names of the tasks.

    Example:
        >>> relations = GradientRelations(("click", "hide"))
        >>> relations.add(torch.tensor([[4.0, -1.0], [-1.0, 1.0]]))
        >>> (pair,) = relations.summary()["pairs"]
        >>> pair["cosine"], pair["conflicting"], pair["steps"], pair["interval"], pair["conflict"]
        (-0.5, 1.0, 1, None, None)
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.tasks = tasks
        count = len(tasks)
        self.cosines = torch.zeros(count, count, dtype=torch.float64)
        self.conflicts = torch.zeros(count, count, dtype=torch.float64)
        self.steps = torch.zeros(count, count, dtype=torch.float64)
        self.norms = torch.zeros(count, dtype=torch.float64)
        self.last = torch.zeros(count, count, dtype=torch.float64)
        self.squares = torch.zeros(count, count, dtype=torch.float64)
        self.products = torch.zeros(count, count, dtype=torch.float64)
        self.previous = torch.zeros(count, count, dtype=torch.float64)
        self.measured = torch.zeros(count, count, dtype=torch.float64)
        """Samples in ``squares``: fewer than ``steps`` after resuming from a checkpoint without it."""

    def add(self, gramian: Tensor) -> None:
        """Add the Gramian [T, T] of a step; ignored if it is not finite."""
        gramian = gramian.double().cpu()
        if not bool(torch.isfinite(gramian).all()):
            return
        norms = gramian.diagonal().clamp(min=0).sqrt()
        scale = norms.unsqueeze(0) * norms.unsqueeze(1)
        known = scale > 0
        self.last = torch.where(known, gramian / scale.clamp(min=1e-300), 0.0)
        self.products += torch.where(known, self.previous * self.last, 0.0)
        self.previous = torch.where(known, self.last, self.previous)
        self.squares += self.last**2
        self.measured += known.double()
        self.cosines += self.last
        self.conflicts += (self.last < 0).double()
        self.steps += known.double()
        self.norms += norms

    def pairs(self) -> list[tuple[int, int]]:
        """Unordered pairs of tasks."""
        return [(i, j) for i in range(len(self.tasks)) for j in range(i + 1, len(self.tasks))]

    def summary(self) -> dict[str, Any]:
        """Per pair of tasks the mean cosine, its interval and the share of conflicting steps; mean gradient norms.

        ``conflict`` is True if the interval is below zero, False if it is above, and None otherwise.
        """
        return {
            "pairs": [self._pair(i, j) for i, j in self.pairs()],
            "gradient_norm": {
                task: float(self.norms[i] / self.steps[i, i].clamp(min=1)) for i, task in enumerate(self.tasks)
            },
        }

    def _pair(self, i: int, j: int) -> dict[str, Any]:
        count = int(self.steps[i, j])
        mean = float(self.cosines[i, j] / max(count, 1))
        half = math.inf
        if int(self.measured[i, j]) == count:
            half = half_width(count, mean, float(self.squares[i, j]), float(self.products[i, j]))
        low, high = mean - half, mean + half
        return {
            "tasks": [self.tasks[i], self.tasks[j]],
            "cosine": mean,
            "conflicting": float(self.conflicts[i, j] / max(count, 1)),
            "steps": count,
            "interval": [low, high] if math.isfinite(half) else None,
            "conflict": (high < 0) if count >= LEAST and (high < 0 or low > 0) else None,
        }


class RelationsCallback(Callback):
    """Samples the Gramian at the seam during training, and logs cosines by task names.

    Args:
        every: Steps between samples. A sample costs one backward pass per task down to z, about as much as a step.

    Example:
        ``Trainer(callbacks=[RelationsCallback(every=50)])``; the result is in ``callback.relations.summary()``.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.relations: GradientRelations | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Observe the module's steps."""
        pl_module.observers.append(self.observe)  # type: ignore[union-attr, operator]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop observing."""
        pl_module.observers.remove(self.observe)  # type: ignore[union-attr, operator]

    def state_dict(self) -> dict[str, Any]:
        """Sums so far, so that a resumed run reports all its steps."""
        if self.relations is None:
            return {}
        return {**vars(self.relations), "tasks": list(self.relations.tasks)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        if state_dict:
            self.relations = GradientRelations(tuple(state_dict["tasks"]))
            vars(self.relations).update({**state_dict, "tasks": self.relations.tasks})

    def observe(self, step: Step) -> None:
        """Add a step if it is due. The Gramian is global, so all processes sample the same steps."""
        if step.index % self.every == 0 and len(step.tasks) > 1:
            if self.relations is None:
                self.relations = GradientRelations(step.tasks)
            self.relations.add(step.gramian)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the cosines of the last sample at the Trainer's logging interval."""
        if self.relations is None or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        tasks = self.relations.tasks
        record = {
            f"relations/cosine/{tasks[i]}-{tasks[j]}": float(self.relations.last[i, j])
            for i, j in self.relations.pairs()
        }
        for logger in trainer.loggers:
            logger.log_metrics(record, step=trainer.global_step)
