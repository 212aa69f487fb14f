"""A training step as weighters see it; the only place where they use collectives."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.distributed import reduce_sum, world_size


def global_counts(batch: Batch) -> Tensor:
    """Return the weight of known labels per task and the rows of the global batch, divided by the number of processes.

    A process that divides its own sum by these counts has a loss whose mean over processes is the mean over the global
    batch.

    Returns:
        Sum of mask × weight per task, then the number of rows, [T + 1] float64.
    """
    known = batch.mask.double() if batch.weight is None else batch.mask.double() * batch.weight.double()
    counts = torch.cat([known.sum(0), known.new_full((1,), float(len(batch)))])
    return reduce_sum(counts) / world_size()


class Step:
    """Losses of a training step, with gradients and inner products at the seam z.

    Args:
        losses: This process's losses with their graph, T scalars; their mean over processes is the global loss. The
            gradient of a scalar needs only its task's part of the graph. For a slice of a stacked tensor it would need
            all of it.
        z: The seam with its graph, [B, D]; B may differ between processes.
        tasks: Names of the tasks, in the order of ``losses``.
        index: Number of the step since the start of training.
        seed: Seed of the run, equal on all processes.

    Example:
        >>> z = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> step = Step(torch.stack([z.sum(), -z[:, 0].sum()]), z, tasks=("a", "b"), index=0, seed=0)
        >>> step.gramian.tolist()
        [[2.0, -1.0], [-1.0, 1.0]]
    """

    def __init__(
        self, losses: Sequence[Tensor] | Tensor, z: Tensor, *, tasks: Sequence[str], index: int, seed: int
    ) -> None:
        self.task_losses = list(losses)
        self.losses = losses if isinstance(losses, Tensor) else torch.stack(self.task_losses)
        self.z = z
        self.tasks = tuple(tasks)
        self.index = index
        self.seed = seed

    @cached_property
    def values(self) -> Tensor:
        """Global losses, detached and equal on all processes, [T]."""
        return reduce_sum(self.losses.detach()) / world_size()

    @cached_property
    def jacobian(self) -> Tensor:
        """Gradients of this process's losses at z, [T, B, D], detached; the graph is kept for the backward."""
        rows = [torch.autograd.grad(loss, self.z, retain_graph=True, allow_unused=True)[0] for loss in self.task_losses]
        return torch.stack([torch.zeros_like(self.z) if row is None else row for row in rows])

    @cached_property
    def gramian(self) -> Tensor:
        """Inner products of the tasks' global gradients at z, [T, T] float64, equal on all processes.

        The global loss is the mean over processes. Its gradient at a process's z is the local gradient divided by the
        number of processes. The sum of local Gramians, divided by the square of that number, is therefore exact.
        """
        flat = self.jacobian.flatten(1)
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))  # z may be in half precision
        local = (flat @ flat.T).double()
        if not bool(torch.isfinite(local).all()):  # squares of finite float32 gradients may overflow
            local = flat.double() @ flat.double().T
        return reduce_sum(local) / world_size() ** 2

    @cached_property
    def generator(self) -> torch.Generator:
        """Generator of random numbers on the CPU, seeded by the run's seed and the step; equal on all processes."""
        generator = torch.Generator()
        generator.manual_seed((self.seed * 1_000_003 + self.index) % 2**63)
        return generator

    def reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of a detached tensor over processes."""
        return reduce_sum(tensor)

    def seam(self, gradient: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return an objective whose gradient at z is ``gradient``.

        Args:
            gradient: Gradient of this process's objective at z, [B, D].
            weights: Weight of each loss for parameters above z, [T], equal on all processes; None for 1.

        Returns:
            A scalar with the value of the weighted sum of the losses. Parameters above z get the gradient of that sum.
        """
        total, plain = self._total(weights)
        correction = (self.z * (gradient - plain).detach()).sum()
        return total + correction - correction.detach()

    def _total(self, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the losses and its gradient, which has the shape of a row of the Jacobian."""
        if weights is None:
            return self.losses.sum(), self.jacobian.sum(0)
        total = (weights.to(self.losses) * self.losses).sum()
        return total, torch.einsum("t,tbd->bd", weights.to(self.jacobian), self.jacobian)
