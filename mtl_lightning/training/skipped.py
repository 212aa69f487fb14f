"""Count of steps that are skipped because their gradients are not finite, without waiting for the device."""

import math
from collections import deque
from collections.abc import Sequence

from torch import Tensor

from mtl_lightning.distributed import reduce_sum
from mtl_lightning.errors import MtlError
from mtl_lightning.training.late import DELAY, LateCopy
from mtl_lightning.training.optimizer import CompositeOptimizer
from mtl_lightning.training.rows import HOST


class SkippedSteps:
    """Counter of skipped steps, which ends a training whose gradients stay non-finite.

    On a CPU a norm is known at once. From another device it is copied while the host continues, and counted ten steps
    later. Such a step changes no weight, so that the delay does not change a result.

    Args:
        limit: Number of consecutive skipped steps that end a training.
        tasks: Names of the tasks.

    Example:
        >>> import torch
        >>> skipped = SkippedSteps(2, ["click"])
        >>> skipped.add(torch.tensor(torch.inf), torch.tensor([0.5])), skipped.total
        (False, 1)
    """

    def __init__(self, limit: int, tasks: Sequence[str]) -> None:
        self.limit, self.tasks = limit, tuple(tasks)
        self.in_a_row = 0
        self._counted = 0
        self._pending: deque[tuple[LateCopy, Tensor]] = deque()

    @property
    def total(self) -> int:
        """Number of skipped steps. It waits for norms on their way, so all processes must ask for it together."""
        self.count_pending()
        return self._counted

    @total.setter
    def total(self, value: int) -> None:
        self._counted = value
        self._pending.clear()

    def check(self, optimizer: CompositeOptimizer, norm: Tensor, losses: Tensor) -> bool:
        """Count a step, and make the optimizer skip it if its norm is not finite.

        Args:
            optimizer: The optimizer, before its step.
            norm: Norm of the gradients, a scalar, equal on all processes.
            losses: This process's losses, [T].

        Returns:
            True if the host must remove the gradients for the step to be skipped.

        Raises:
            MtlError: If too many steps in a row were skipped.
        """
        if norm.device.type in HOST or not optimizer.skips_on_device():
            return not self.add(norm, losses)
        optimizer.step_unless(norm - norm != 0)
        self._pending.append((LateCopy(norm), losses))
        if len(self._pending) > DELAY:
            self._count_first()
        return False

    def add(self, norm: Tensor, losses: Tensor) -> bool:
        """Count a step whose norm is on the host, or wait for it; return whether it is finite.

        Raises:
            MtlError: If too many steps in a row were skipped.
        """
        finite = math.isfinite(float(norm))
        self.in_a_row = 0 if finite else self.in_a_row + 1
        self._counted += not finite
        if self.in_a_row >= self.limit and not finite:
            values = reduce_sum(losses).tolist()
            names = [name for name, value in zip(self.tasks, values, strict=True) if not math.isfinite(value)]
            cause = f"the loss of {', '.join(names)} is not finite" if names else "the losses are finite"
            raise MtlError(
                f"{self.in_a_row} steps in a row had gradients that are not finite; {cause}",
                "lower optimizer.lr, set trainer.gradient_clip_val, or check the range of the label",
            )
        return finite

    def count_pending(self) -> None:
        """Count the steps whose norm is on its way.

        Raises:
            MtlError: As :meth:`add` does.
        """
        while self._pending:
            self._count_first()

    def _count_first(self) -> None:
        norm, losses = self._pending.popleft()
        self.add(norm.wait(), losses)
