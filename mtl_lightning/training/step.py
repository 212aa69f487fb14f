"""A training step as weighters see it: losses and gradients at the seam, with the collectives that they need."""

from collections.abc import Sequence
from functools import cached_property, reduce

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.batch import Batch
from mtl_lightning.distributed import reduce_mean, reduce_sum, world_size
from mtl_lightning.training.products import inner_products


def global_counts(batch: Batch) -> Tensor:
    """Return the weight of known labels per task and the rows of the global batch, divided by the number of processes.

    A process that divides its own sum by these counts has a loss whose mean over processes is the mean over the global
    batch.

    Returns:
        Sum of mask × weight per task, then the number of rows, [T + 1] float64.
    """
    known = batch.mask if batch.weight is None else batch.mask.double() * batch.weight.double()
    return reduce_mean(functional.pad(known.sum(0, dtype=torch.float64), (0, 1), value=len(batch)))


def step_generator(seed: int, index: int) -> torch.Generator:
    """Return a new generator on the CPU for a step, equal on all processes.

    Args:
        seed: Seed of the run.
        index: Number of the step.
    """
    generator = torch.Generator()
    generator.manual_seed((seed * 1_000_003 + index) % 2**63)
    return generator


class Step:
    """Losses of a training step, with gradients at the seam: z, or the last tensors that the tasks share.

    Args:
        losses: This process's losses with graph, T scalars; their mean over processes is the global loss. A gradient
            of one of them runs through that task's part of the graph only, unlike a gradient of a slice of a stack.
        seam: z with graph, [B, D], or several tensors [B, …] that every path from z to a loss crosses and of which none
            is computed from another. B may differ between processes. D below is the sum of their widths per row.
        tasks: Names, in the order of ``losses``.
        index: Number of the step since the start of training.
        seed: Seed of the run, equal on all processes.
        apart: For each loss, the tensor that it alone depends on and that all its paths from the seam cross. Gradients
            of all losses at these take one backward pass, which may share parts. Without them, each loss has its own.

    Example:
        >>> z = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> step = Step(torch.stack([z.sum(), -z[:, 0].sum()]), z, tasks=("a", "b"), index=0, seed=0)
        >>> step.gramian.tolist()
        [[2.0, -1.0], [-1.0, 1.0]]

        Two tensors that an expert and a gate give:

        >>> expert, gate = torch.tensor([[3.0]], requires_grad=True), torch.tensor([[0.5]], requires_grad=True)
        >>> loss = (gate * expert).sum()
        >>> Step([loss], (expert, gate), tasks=("a",), index=0, seed=0).jacobian.tolist()
        [[[0.5, 3.0]]]
    """

    def __init__(
        self,
        losses: Sequence[Tensor] | Tensor,
        seam: Tensor | Sequence[Tensor],
        *,
        tasks: Sequence[str],
        index: int,
        seed: int,
        apart: Sequence[Tensor] = (),
    ) -> None:
        self.losses = losses if isinstance(losses, Tensor) else torch.stack(list(losses))
        self.task_losses = list(losses)
        self.tensors = (seam,) if isinstance(seam, Tensor) else tuple(seam)
        self.tasks = tuple(tasks)
        self.index = index
        self.seed = seed
        self.apart = tuple(apart)

    @property
    def z(self) -> Tensor:
        """The seam, or its first tensor if there are several."""
        return self.tensors[0]

    @cached_property
    def values(self) -> Tensor:
        """Global losses, detached and equal on all processes, [T]."""
        return reduce_mean(self.losses.detach())

    @cached_property
    def jacobian(self) -> Tensor:
        """Gradients of this process's losses at the seam, [T, B, D], detached; the graph remains for the backward."""
        widths = [tensor[0].numel() for tensor in self.tensors]
        kind = reduce(torch.promote_types, (tensor.dtype for tensor in self.tensors))
        jacobian = self.z.new_empty(len(self.task_losses), len(self.z), sum(widths), dtype=kind)
        for row, (end, gradient) in zip(jacobian, self._ends(), strict=True):
            if end is None:
                row.zero_()
                continue
            parts = torch.autograd.grad(end, self.tensors, gradient, retain_graph=True, allow_unused=True)
            for place, part in zip(row.split(widths, dim=1), parts, strict=True):
                if part is None:
                    place.zero_()
                else:
                    place.copy_(part.flatten(1))
        return jacobian

    def _ends(self) -> list[tuple[Tensor | None, Tensor | None]]:
        """Of each task, the tensor where the backward pass to the seam starts, and the gradient there; None for 1."""
        if not self.apart:
            return [(loss, None) for loss in self.task_losses]
        ones = torch.ones_like(self.losses)
        gradients = torch.autograd.grad(self.losses, self.apart, ones, retain_graph=True, allow_unused=True)
        return [(None if g is None else end, g) for end, g in zip(self.apart, gradients, strict=True)]

    @cached_property
    def gramian(self) -> Tensor:
        """Inner products of the tasks' global gradients at the seam, [T, T] float64, equal on all processes.

        The global loss is the mean over processes, so its gradient at a process's rows is the local one divided by the
        number of processes. Local Gramians are summed and divided by the square of that number, which is exact.
        """
        products = inner_products(self.jacobian.flatten(1))
        if world_size() == 1:
            return products
        # The losses travel along: most weighters that read the Gramian read them too.
        packed = reduce_mean(torch.cat([products.flatten(), self.losses.detach().to(products.dtype)]))
        self.__dict__.setdefault("values", packed[products.numel() :].to(self.losses.dtype))
        return packed[: products.numel()].view_as(products) / world_size()

    @cached_property
    def generator(self) -> torch.Generator:
        """Generator of random numbers on the CPU, seeded by the run's seed and the step; equal on all processes."""
        return step_generator(self.seed, self.index)

    def reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of a detached tensor over processes."""
        return reduce_sum(tensor)

    def seam(self, gradient: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the objective whose gradient at the seam is ``gradient``.

        Args:
            gradient: Desired gradient of this process's objective at the seam, [B, D].
            weights: Weight of each loss for what is above the seam, [T], equal on all processes; one each without it.

        Returns:
            A scalar with the value of the weighted sum of the losses. Parameters above the seam get the gradient of
            that sum.
        """
        total, plain = self._total(weights)
        change = (gradient - plain).detach()
        parts = change.split([tensor[0].numel() for tensor in self.tensors], dim=1)
        pairs = zip(self.tensors, parts, strict=True)
        corrections = [(tensor * part.to(tensor.dtype).view_as(tensor)).sum() for tensor, part in pairs]
        correction = corrections[0] if len(corrections) == 1 else torch.stack(corrections).sum()
        return total + correction - correction.detach()

    def _total(self, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the losses and its gradient, which has the shape of a row of the Jacobian."""
        total = self.losses.sum() if weights is None else (weights.to(self.losses) * self.losses).sum()
        if weights is None:  # a product with ones takes half the time of a sum over tasks
            weights = self.losses.detach().new_ones(len(self.task_losses))
        return total, torch.einsum("t,tbd->bd", weights.to(self.jacobian), self.jacobian)
