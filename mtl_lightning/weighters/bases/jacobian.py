"""The base of weighters that combine the tasks' gradients entry by entry."""

from abc import abstractmethod
from typing import TypedDict

import torch
from torch import Tensor

from mtl_lightning.interfaces import Step, Weighter
from mtl_lightning.training.rows import HOST
from mtl_lightning.weighters.bases.buffers import Buffers


class JacobianOptions(TypedDict, total=False):
    """Options of every :class:`JacobianWeighter`; a subclass ends its constructor with ``Unpack[JacobianOptions]``."""

    gradients_at: str


class JacobianWeighter(Weighter):
    """One gradient at the seam from the tasks' gradients at the seam: ``combine: [T, B, D] → [B, D]``.

    Parameters above the seam get the gradient of the plain sum: above z these are towers, and experts, which are
    shared. A process sees its own rows only, so a method must treat rows independently. Random numbers and sums over
    rows, which all rows share, come from ``step.generator`` and ``step.reduce`` in :meth:`begin`. A step with a loss
    that is not finite changes no state and takes the plain sum.

    Args:
        tasks: Names of the tasks.
        gradients_at: Where gradients are taken. ``seam``: at z. ``shared``: at the tensors that the architecture's
            tasks share last; D is the sum of their widths per row. ``parameters``, or a pattern of names: at dense
            parameters that at least two tasks share, in one row, [T, 1, P], that is equal on all processes.

    Example:
        >>> from mtl_lightning.training.step import Step
        >>> class Largest(JacobianWeighter):
        ...     def combine(self, jacobian):
        ...         return jacobian.amax(0)
        >>> z = torch.zeros(1, 2, requires_grad=True)
        >>> step = Step(torch.stack([2 * z[0, 0], 4 * z[0, 1]]), z, tasks=("a", "b"), index=0, seed=0)
        >>> Largest(("a", "b"))(step).backward()
        >>> z.grad.tolist()
        [[2.0, 4.0]]
    """

    def __init__(self, tasks: tuple[str, ...], *, gradients_at: str = "seam") -> None:
        super().__init__(tasks)
        self.gradients_at = gradients_at

    def begin(self, step: Step) -> None:
        """Called before :meth:`combine`, for random numbers and for sums over the rows of all processes."""

    @abstractmethod
    def combine(self, jacobian: Tensor) -> Tensor:
        """The gradient of this process's objective at the seam.

        Args:
            jacobian: Gradients of this process's losses at the seam, [T, B, D].

        Returns:
            [B, D], of the same scale: the plain sum is ``jacobian.sum(0)``.
        """

    def forward(self, step: Step) -> Tensor:
        """The objective, a scalar."""
        finite = torch.isfinite(step.values).all()
        if step.values.device.type not in HOST:
            before = Buffers(self)
            self.begin(step)
            gradient = torch.where(finite, self.combine(step.jacobian), step.jacobian.sum(0))
            before.restore_unless(finite)
            return step.seam(gradient)
        if not bool(finite):
            return step.losses.sum()
        self.begin(step)
        return step.seam(self.combine(step.jacobian))
