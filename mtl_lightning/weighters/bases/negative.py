"""A warning about negative losses, for methods that need positive ones."""

from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

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
