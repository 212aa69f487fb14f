"""A warning where a method that wants positive losses gets a negative one."""

from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

LEFT_OUT = "it takes no part in such steps"
UNBOUNDED = "its weight grows without bound"


def warn_of_negative(method: str, tasks: Sequence[str], values: Tensor, consequence: str) -> None:
    """Name the tasks whose loss is negative, and what that does. The same tasks are named once.

    Args:
        method: Name of the weighter.
        tasks: Names of the tasks.
        values: Global losses, [T]; those that are not finite say nothing here.
        consequence: What the method does with such a task.

    Example:
        >>> import torch
        >>> warn_of_negative("gls", ("click", "spend"), torch.tensor([0.3, 0.0]), LEFT_OUT)
    """
    negative = [task for task, value in zip(tasks, values.tolist(), strict=True) if value < 0]
    if negative:
        rank_zero_warn(
            f"weighter {method} wants positive losses, and that of {', '.join(negative)} is negative: {consequence}. "
            "Take another weighter, or a loss that is never negative",
            stacklevel=2,
        )
