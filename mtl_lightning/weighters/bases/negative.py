"""A warning about negative losses, for methods that need positive ones."""

from collections.abc import Sequence

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from mtl_lightning.training.late import DELAY, LateCopy
from mtl_lightning.training.rows import HOST

LEFT_OUT = "it takes no part in such steps"
UNBOUNDED = "its weight grows without bound"


def warn_of_negative(method: str, tasks: Sequence[str], values: Tensor, consequence: str) -> None:
    """Warn about tasks whose loss is negative, once for the same tasks.

    Args:
        method: Name of the weighter.
        tasks: Names of the tasks.
        values: Global losses, [T]; values that are not finite are ignored.
        consequence: The method's treatment of such a task, in words.

    Example:
        >>> import torch
        >>> warn_of_negative("gls", ("click", "spend"), torch.tensor([0.3, 0.0]), LEFT_OUT)
    """
    negative = [task for task, value in zip(tasks, values.tolist(), strict=True) if value < 0]
    if negative:
        rank_zero_warn(
            f"weighter {method} needs positive losses, and the loss of {', '.join(negative)} is negative: "
            f"{consequence}. Choose another weighter, or a loss that is never negative",
            stacklevel=2,
        )


class NegativeLosses:
    """Check for negative losses that does not wait for a device, where the warning comes up to twenty steps later.

    Args:
        method: Name of the weighter.
        tasks: Names of the tasks.
        consequence: The method's treatment of a task with a negative loss, in words.

    Example:
        >>> NegativeLosses("gls", ("click", "spend"), LEFT_OUT).check(torch.tensor([0.3, 0.0]))
    """

    def __init__(self, method: str, tasks: Sequence[str], consequence: str) -> None:
        self._method, self._tasks, self._consequence = method, tasks, consequence
        self._least: Tensor | None = None
        self._copy: LateCopy | None = None
        self._steps = 0

    def check(self, values: Tensor) -> None:
        """Warn if a loss of this step, or of a recent one, is negative.

        Args:
            values: Global losses, [T]; values that are not finite are ignored.
        """
        if values.device.type in HOST:
            warn_of_negative(self._method, self._tasks, values, self._consequence)
            return
        finite = values.nan_to_num(neginf=0.0)
        self._least = finite if self._least is None else torch.minimum(self._least, finite)
        self._steps += 1
        if self._steps % DELAY == 0:
            if self._copy is not None:
                warn_of_negative(self._method, self._tasks, self._copy.wait(), self._consequence)
            self._copy, self._least = LateCopy(self._least), None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_least": None, "_copy": None}
