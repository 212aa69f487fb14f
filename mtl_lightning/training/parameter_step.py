"""A step whose gradients are taken at shared parameters instead of the seam, as in most papers."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor, nn

from mtl_lightning.distributed import reduce_sum, world_size
from mtl_lightning.errors import MtlError
from mtl_lightning.training.step import Step


def gradient_parameters(network: nn.Module, tables: Sequence[nn.Parameter], where: str) -> list[nn.Parameter]:
    """The dense parameters at which a weighter wants its gradients; none if it wants them at the seam.

    Args:
        network: The model, with its parts named ``encoder``, ``architecture`` and ``heads``.
        tables: Parameters with sparse gradients, which are left out.
        where: ``seam`` or ``shared``; ``parameters`` for all of encoder and architecture; or a pattern over the
            network's parameter names, such as ``architecture.experts*``.

    Raises:
        MtlError: If the pattern matches no dense parameter.
    """
    if where in ("seam", "shared"):
        return []
    sparse = {id(table) for table in tables}
    dense = [(name, value) for name, value in network.named_parameters() if id(value) not in sparse]
    patterns = ("encoder.*", "architecture.*") if where == "parameters" else (where,)
    chosen = [value for name, value in dense if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        names = ", ".join(name for name, _ in dense[:4])
        raise MtlError(f"weighter.gradients_at: {where!r} matches no dense parameter", f"names are such as {names}")
    return chosen


class ParameterStep(Step):
    """One step's losses, with gradients at parameters that at least two tasks share.

    The Jacobian has one row per task, [T, 1, P], and is that of the global losses: averaging the processes' Gramians
    would be wrong here, so the gradients are reduced first. Embedding tables are left out: they, and parameters of one
    task alone, get the gradient of the plain sum.

    Args:
        losses: This process's losses with graph, T scalars (not slices of one tensor, which every parameter reaches).
        parameters: Candidates; those that fewer than two tasks reach are dropped, unless there is but one task.
        tasks: Names, in the order of ``losses``.
        index: Number of the step since the start of training.
        seed: Seed of the run, equal on all processes.

    Example:
        >>> weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        >>> losses = [weight.sum(), -weight[0]]
        >>> step = ParameterStep(losses, [weight], tasks=("a", "b"), index=0, seed=0)
        >>> step.jacobian.tolist()
        [[[1.0, 1.0]], [[-1.0, 0.0]]]
        >>> step.seam(torch.tensor([[0.5, 0.25]])).backward()
        >>> weight.grad.tolist()
        [0.5, 0.25]
    """

    def __init__(
        self,
        losses: Sequence[Tensor],
        parameters: Sequence[nn.Parameter],
        *,
        tasks: Sequence[str],
        index: int,
        seed: int,
    ) -> None:
        super().__init__(losses, losses[0], tasks=tasks, index=index, seed=seed)
        self.parameters = list(parameters)

    @cached_property
    def jacobian(self) -> Tensor:
        """Gradients of the global losses at the shared parameters, [T, 1, P], detached, equal on all processes."""
        rows = [torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True) for loss in self.each]
        reached = [sum(part is not None for part in parts) for parts in zip(*rows, strict=True)]
        kept = [i for i, count in enumerate(reached) if count >= min(2, len(rows))]
        self.parameters = [self.parameters[i] for i in kept]
        if not kept:
            return self.losses.new_zeros(len(rows), 1, 0)
        flat = [torch.cat([_filled(row[i], p) for i, p in zip(kept, self.parameters, strict=True)]) for row in rows]
        return reduce_sum(torch.stack(flat))[:, None] / world_size()

    @cached_property
    def gramian(self) -> Tensor:
        """Inner products of the tasks' global gradients at the shared parameters, [T, T] float64."""
        flat = self.jacobian[:, 0].double()
        return flat @ flat.T

    def seam(self, gradient: Tensor, weights: Tensor | None = None) -> Tensor:
        """The objective whose gradient at the shared parameters is ``gradient``.

        Args:
            gradient: Wanted gradient of the global objective, [1, P], equal on all processes.
            weights: Weight of each loss for all other parameters, [T]; one each without it.

        Returns:
            A scalar worth the weighted sum of the losses. All other parameters get the gradient of that sum.
        """
        total, plain = self._total(weights)
        change = (gradient - plain).detach()[0]
        parts = change.split([parameter.numel() for parameter in self.parameters])
        correction = sum(
            ((value * part.view_as(value)).sum() for value, part in zip(self.parameters, parts, strict=True)),
            start=self.losses.new_zeros(()),
        )
        return total + correction - correction.detach()


def make_step(
    losses: Sequence[Tensor],
    seam: Tensor | Sequence[Tensor],
    parameters: Sequence[nn.Parameter],
    *,
    tasks: Sequence[str],
    index: int,
    seed: int,
) -> Step:
    """Return a step with gradients at ``parameters``, or at the seam if there are none."""
    if parameters:
        return ParameterStep(losses, parameters, tasks=tasks, index=index, seed=seed)
    return Step(losses, seam, tasks=tasks, index=index, seed=seed)


def _filled(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    return (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
