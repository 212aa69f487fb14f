"""The base of weighters that look at loss values only."""

from abc import abstractmethod

import torch
from torch import Tensor

from mtl_lightning.interfaces import Step, Weighter
from mtl_lightning.training.rows import HOST
from mtl_lightning.weighters.bases.buffers import Buffers


class LossWeighter(Weighter):
    """Weights from the values of the losses: objective ``Σ w_t L_t``, for every parameter of the model.

    A subclass computes :meth:`weights` from the global values, which are equal on all processes. A task without a
    label in the global batch has the value 0. Methods that divide by a loss or take its logarithm leave such a task out
    of the step. A step with a loss that is not finite changes no state and takes the plain sum, so that the check of
    the gradients can skip it.

    Args:
        tasks: Names of the tasks.

    Example:
        >>> from mtl_lightning.training.step import Step
        >>> class Halved(LossWeighter):
        ...     def weights(self, values):
        ...         return torch.full_like(values, 0.5)
        >>> z = torch.ones(2, 1, requires_grad=True)
        >>> step = Step(torch.stack([z.sum(), 3 * z.sum()]), z, tasks=("a", "b"), index=0, seed=0)
        >>> float(Halved(("a", "b"))(step))
        4.0
    """

    last: Tensor

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__(tasks)
        self.register_buffer("last", torch.ones(len(self.tasks), dtype=torch.float64))
        self.finite: Tensor = torch.tensor(True)  # on a device, False after a step that changed no state

    def begin(self, step: Step) -> None:
        """Called before :meth:`weights`, for methods that draw random numbers (``step.generator``) or count steps."""

    @abstractmethod
    def weights(self, values: Tensor) -> Tensor:
        """Weight of each task.

        Args:
            values: Global losses, [T] float64, finite; 0 where the global batch has no label of the task.

        Returns:
            Weights, [T], without graph.
        """

    def forward(self, step: Step) -> Tensor:
        """The weighted sum of the losses, a scalar."""
        values = step.values.double()
        finite = torch.isfinite(values).all()
        if values.device.type not in HOST:
            return self._forward_on_device(step, values, finite)
        if not bool(finite):
            return step.losses.sum()
        self.begin(step)
        self.last.copy_(self.weights(values))
        return (self.last.to(step.losses.dtype) * step.losses).sum()

    def _forward_on_device(self, step: Step, values: Tensor, finite: Tensor) -> Tensor:
        before, self.finite = Buffers(self), finite
        self.begin(step)
        self.last.copy_(self.weights(values))
        weights = torch.where(finite, self.last, 1.0)
        before.restore_unless(finite)
        return (weights.to(step.losses.dtype) * step.losses).sum()

    def report(self) -> dict[str, float]:
        """The last weight of each task."""
        return dict(zip(self.tasks, self.last.tolist(), strict=True))
