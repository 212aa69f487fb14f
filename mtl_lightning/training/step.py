"""What weighters see of one training step; the only place where they meet collectives."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.distributed import reduce_sum, world_size


def global_counts(batch: Batch) -> Tensor:
    """Known label weight per task and rows of the global batch, each divided by the number of processes.

    Returns:
        [T + 1] float64: the sum of mask × weight per task, then the number of rows. A process that divides its own
        sum by these has a loss whose mean over processes is the mean over the global batch.
    """
    known = batch.mask.double() if batch.weight is None else batch.mask.double() * batch.weight.double()
    counts = torch.cat([known.sum(0), known.new_full((1,), float(len(batch)))])
    return reduce_sum(counts) / world_size()


class Step:
    """One step's losses, and what can be derived from them at the seam z.

    Args:
        losses: This process's losses with graph, T scalars; their mean over processes is the global loss. A gradient
            of one of them runs through that task's part of the graph only, unlike that of a slice of a stacked tensor.
        z: The seam with graph, [B, D]; B may differ between processes.
        tasks: Names, in the order of ``losses``.
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
        self.each = list(losses)
        self.losses = losses if isinstance(losses, Tensor) else torch.stack(self.each)
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
        """Gradients of this process's losses at z, [T, B, D], detached; the graph is kept for the one backward."""
        rows = [torch.autograd.grad(loss, self.z, retain_graph=True, allow_unused=True)[0] for loss in self.each]
        return torch.stack([torch.zeros_like(self.z) if row is None else row for row in rows])

    @cached_property
    def gramian(self) -> Tensor:
        """Inner products of the tasks' global gradients at z, [T, T] float64, equal on all processes.

        The global loss is the mean over processes, so its gradient at a process's z is the local one divided by the
        number of processes: local Gramians are summed and divided by its square, which is exact.
        """
        flat = self.jacobian.flatten(1)
        flat = flat.to(torch.promote_types(flat.dtype, torch.float32))  # z may be in half precision
        local = (flat @ flat.T).double()
        if not bool(torch.isfinite(local).all()):  # squares of large float32 gradients overflow, not the gradients
            local = flat.double() @ flat.double().T
        return reduce_sum(local) / world_size() ** 2

    @cached_property
    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, equal on all processes, set by seed and step alone."""
        generator = torch.Generator()
        generator.manual_seed((self.seed * 1_000_003 + self.index) % 2**63)
        return generator

    def reduce(self, tensor: Tensor) -> Tensor:
        """Sum of a detached tensor over processes."""
        return reduce_sum(tensor)

    def seam(self, gradient: Tensor, weights: Tensor | None = None) -> Tensor:
        """The objective whose gradient at z is ``gradient``.

        Args:
            gradient: Wanted gradient of this process's objective at z, [B, D].
            weights: Weight of each loss for what is above z, [T], equal on all processes; one each without it.

        Returns:
            A scalar worth the weighted sum of the losses. Parameters above z get the gradient of that sum.
        """
        total, plain = self._total(weights)
        correction = (self.z * (gradient - plain).detach()).sum()
        return total + correction - correction.detach()

    def _total(self, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """The weighted sum of the losses and its gradient, of the shape of a row of the Jacobian."""
        if weights is None:
            return self.losses.sum(), self.jacobian.sum(0)
        total = (weights.to(self.losses) * self.losses).sum()
        return total, torch.einsum("t,tbd->bd", weights.to(self.jacobian), self.jacobian)
