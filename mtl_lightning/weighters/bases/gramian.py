"""The base of weighters that use the inner products of the tasks' gradients."""

from abc import abstractmethod
from typing import ClassVar, Literal, TypedDict

import torch
from torch import Tensor

from mtl_lightning.bounds import PositiveInt
from mtl_lightning.interfaces import Step, Weighter
from mtl_lightning.training.late import send
from mtl_lightning.training.products import is_finite
from mtl_lightning.training.rows import HOST
from mtl_lightning.weighters.bases.buffers import Buffers

Scope = Literal["encoder", "model"]


class SeamOptions(TypedDict, total=False):
    """Options of every :class:`GramianWeighter` that say when and where gradients are taken."""

    every: PositiveInt
    gradients_at: str


class GramianOptions(SeamOptions, total=False):
    """Options of every :class:`GramianWeighter`; a subclass ends its constructor with ``Unpack[GramianOptions]``."""

    scope: Scope
    rescale: bool


class GramianWeighter(Weighter):
    """Weights from the Gramian of the tasks' gradients at the seam: the gradient at z becomes ``Σ w_t ∂L_t/∂z``.

    A subclass computes :meth:`weights` from the global Gramian, on the CPU in float64. A step whose Gramian is not
    finite changes no state and takes the plain sum, so that the check of the gradients can skip it.

    On another device the host waits for the Gramian, once per computation of the weights. A subclass whose weights are
    tensor operations without a decision of the host avoids that: it sets ``most_on_device`` and, if ``skips_absent`` is
    set, overrides :meth:`weights_of_present`. Its buffers are restored on the device where a step must not change them.

    Args:
        tasks: Names of the tasks.
        every: Number of steps from one computation of the weights to the next. Steps in between reuse the weights and
            cost as much as ``sum``: their objective is ``Σ w_t L_t`` for every parameter, whatever ``scope`` is.
        scope: Parameters that the weights apply to. ``encoder``: z and everything below it; parameters above z (towers,
            and experts, which are shared) get the gradient of the plain sum. ``model``: every parameter.
        rescale: Scale the weights to sum to the number of tasks, as the weights of ``sum`` do.
        gradients_at: Where gradients are taken. ``seam``: at z. ``shared``: at the tensors that the architecture's
            tasks share last. ``parameters``: at every dense parameter that at least two tasks share, which costs one
            full backward pass per task. A pattern such as ``architecture.experts*`` selects from these by name.

    Example:
        >>> from mtl_lightning.training.step import Step
        >>> class Inverse(GramianWeighter):
        ...     def weights(self, gramian):
        ...         return 1 / gramian.diagonal().sqrt()
        >>> z = torch.zeros(1, 2, requires_grad=True)
        >>> step = Step(torch.stack([2 * z[0, 0], 4 * z[0, 1]]), z, tasks=("a", "b"), index=0, seed=0)
        >>> Inverse(("a", "b"))(step).backward()
        >>> z.grad.tolist()
        [[1.0, 1.0]]
    """

    skips_absent: ClassVar[bool] = False
    """True if :meth:`weights` should see only the tasks that have a gradient in this step.

    A task without labels in the batch has none, and a method that looks for the smallest combination of gradients
    would give it all the weight.
    """
    most_on_device: ClassVar[int] = 0
    """Largest number of tasks for which :meth:`weights` runs on a device other than the CPU."""
    kept: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        every: PositiveInt = 1,
        scope: Scope = "encoder",
        rescale: bool = False,
        gradients_at: str = "seam",
    ) -> None:
        super().__init__(tasks)
        self.every = every
        self.scope = scope
        self.rescale = rescale
        self.gradients_at = gradients_at
        self.present = torch.ones(len(self.tasks), dtype=torch.bool)
        self.register_buffer("kept", torch.ones(len(self.tasks), dtype=torch.float64))

    def begin(self, step: Step) -> None:
        """Called before :meth:`weights`, for methods that draw random numbers or need the values of the losses."""

    def inner_products(self, step: Step) -> Tensor:
        """The matrix that :meth:`weights` gets, [T, T]. A method that tracks gradients over steps overrides it."""
        return step.gramian

    @abstractmethod
    def weights(self, gramian: Tensor) -> Tensor:
        """Weight of each task.

        Args:
            gramian: Inner products of the global gradients, [T, T] float64 on the CPU, finite. With ``most_on_device``
                it may be on a device and not finite; such results are discarded.

        Returns:
            Weights, [T] float64.
        """

    def weights_of_present(self, gramian: Tensor, present: Tensor) -> Tensor:
        """Weight of each task, computed on a device from all tasks; as :meth:`weights` for the others.

        Args:
            gramian: Inner products of all tasks, [T, T] float64, perhaps not finite.
            present: True for tasks that take part, [T]; all of them unless ``skips_absent`` is set.

        Returns:
            Weights, [T] float64; values of tasks that are not present are ignored.
        """
        if self.skips_absent:
            raise NotImplementedError(f"{type(self).__name__} sets skips_absent and most_on_device only")
        return self.weights(gramian)

    def above(self, step: Step) -> Tensor | None:
        """Weights of the losses for what is above z where ``scope`` is ``encoder``, [T]; None for the plain sum."""
        return None

    def forward(self, step: Step) -> Tensor:
        """The objective, a scalar."""
        if step.index % self.every:
            return self._weighted_sum(step)
        if step.values.device.type not in HOST and len(self.tasks) <= self.most_on_device:
            return self._forward_on_device(step)
        products, finite = self._read(step)
        if not finite:
            return step.losses.sum()
        if products is None:
            self.begin(step)
            products = self.inner_products(step).double().cpu()
        self.kept.copy_(send(self._present_weights(products).to(self.kept.dtype), self.kept.device))
        return self._objective(step, self.kept, self.above(step))

    def _read(self, step: Step) -> tuple[Tensor | None, bool]:
        """Inner products on the CPU, unless they depend on state, and whether the step is finite."""
        own, base = type(self), GramianWeighter
        stateful = own.inner_products is not base.inner_products or own.begin is not base.begin
        if stateful or step.values.device.type in HOST:
            return None, bool(torch.isfinite(step.gramian).all() & torch.isfinite(step.values).all())
        both = torch.cat([self.inner_products(step).double().flatten(), step.values.double()]).cpu()
        return both[: -len(self.tasks)].view(len(self.tasks), -1), bool(torch.isfinite(both).all())

    def _forward_on_device(self, step: Step) -> Tensor:
        before = Buffers(self)
        finite = is_finite(step.gramian).all() & is_finite(step.values).all()
        self.begin(step)
        gramian = self.inner_products(step).double()
        carried = gramian.diagonal() != 0
        usable = finite & carried.any()
        self.present = carried if self.skips_absent else torch.ones_like(carried)
        count = self.present.sum()
        weights = torch.where(self.present, self.weights_of_present(gramian, self.present), 0.0)
        total = weights.sum()
        if self.rescale:
            factor = torch.where(total > 0, count / total, 1.0)
            weights, total = weights * factor, total * factor
        self.kept.copy_(torch.where(self.present, weights, total / count))
        before.restore_unless(usable)
        above = self.above(step)
        above = None if above is None else torch.where(finite, above, 1.0)
        return self._objective(step, torch.where(finite, self.kept, 1.0), above)

    def _objective(self, step: Step, weights: Tensor, above: Tensor | None) -> Tensor:
        if self.scope == "model":
            return (weights.to(step.losses.dtype) * step.losses).sum()
        jacobian = step.jacobian
        return step.seam(torch.einsum("t,tbd->bd", weights.to(jacobian), jacobian), above)

    def report(self) -> dict[str, float]:
        """The last weight of each task."""
        return dict(zip(self.tasks, self.kept.tolist(), strict=True))

    def _present_weights(self, gramian: Tensor) -> Tensor:
        present = gramian.diagonal() != 0  # between two batches a task's product with itself may be negative
        if not bool(present.any()):
            return self.kept.double().cpu()
        self.present = present if self.skips_absent else torch.ones_like(present)
        present_weights = self.weights(gramian[self.present][:, self.present])
        if self.rescale and float(present_weights.sum()) > 0:
            present_weights = present_weights * (len(present_weights) / present_weights.sum())
        # An absent task has no gradient now; its weight matters in later steps that reuse the weights.
        weights = present_weights.mean().repeat(len(gramian))
        weights[self.present] = present_weights
        return weights

    def _weighted_sum(self, step: Step) -> Tensor:
        return (self.kept.to(step.losses.dtype) * step.losses).sum()
