"""Step with gradients at shared parameters instead of the seam, as in most papers."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.distributed import reduce_sum, world_size
from mtl_lightning.errors import MtlError
from mtl_lightning.training.step import Step


def gradient_parameters(network: nn.Module, tables: Sequence[nn.Parameter], where: str) -> list[nn.Parameter]:
    """Return the dense parameters at which a weighter takes gradients; empty for gradients at the seam.

    Args:
        network: Model with the parts ``encoder``, ``architecture`` and ``heads``.
        tables: Parameters with sparse gradients, which are left out.
        where: ``seam`` or ``shared``, or ``parameters`` for all of encoder and architecture, or a pattern of parameter
            names such as ``architecture.experts*``.

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
    """Losses of a step, with gradients at parameters that at least two tasks share.

    The Jacobian of the global losses has one row per task, [T, 1, P]. Gradients are reduced over processes first, since
    an average of the processes' Gramians would be wrong. Embedding tables, and parameters that affect a single task,
    get the gradient of the sum of the losses.

    Args:
        losses: This process's losses with their graph, T scalars. Slices of one tensor would not do, since every
            parameter affects that tensor.
        parameters: Candidates. Parameters that affect fewer than two tasks are left out, unless there is only one task.
        tasks: Names of the tasks, in the order of ``losses``.
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
    @override
    def jacobian(self) -> Tensor:
        """Gradients of the global losses at the shared parameters, [T, 1, P], detached, equal on all processes."""
        rows = [
            torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True)
            for loss in self.task_losses
        ]
        affected = [sum(part is not None for part in parts) for parts in zip(*rows, strict=True)]
        shared = [i for i, count in enumerate(affected) if count >= min(2, len(rows))]
        self.parameters = [self.parameters[i] for i in shared]
        if not shared:
            return self.losses.new_zeros(len(rows), 1, 0)
        flat = [torch.cat([_flatten(row[i], p) for i, p in zip(shared, self.parameters, strict=True)]) for row in rows]
        return reduce_sum(torch.stack(flat))[:, None] / world_size()

    @cached_property
    @override
    def gramian(self) -> Tensor:
        """Inner products of the tasks' global gradients at the shared parameters, [T, T] float64."""
        flat = self.jacobian[:, 0].double()
        return flat @ flat.T

    @override
    def seam(self, gradient: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return an objective whose gradient at the shared parameters is ``gradient``.

        Args:
            gradient: Gradient of the global objective, [1, P], equal on all processes.
            weights: Weight of each loss for all other parameters, [T]; None for 1.

        Returns:
            A scalar with the value of the weighted sum of the losses. Other parameters get the gradient of that sum.
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
    losses: Sequence[Tensor] | Tensor,
    seam: Tensor | Sequence[Tensor],
    parameters: Sequence[nn.Parameter],
    *,
    tasks: Sequence[str],
    index: int,
    seed: int,
    apart: Sequence[Tensor] = (),
) -> Step:
    """Return a step with gradients at ``parameters``, or at the seam if there are none."""
    if parameters:
        return ParameterStep(list(losses), parameters, tasks=tasks, index=index, seed=seed)
    return Step(losses, seam, tasks=tasks, index=index, seed=seed, apart=apart)


def _flatten(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    return (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
