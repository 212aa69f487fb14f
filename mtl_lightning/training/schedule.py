"""Learning-rate schedules: functions from step to factor."""

import math
from collections.abc import Callable
from functools import cache

from mtl_lightning.errors import MtlError


def make_schedule(
    decay: Callable[[float], float] | None, warmup_steps: int, total_steps: Callable[[], int]
) -> Callable[[int], float]:
    """Make a schedule of linear warm-up and a decay over the remaining steps.

    Args:
        decay: Function from the share of the steps after warm-up, in [0, 1], to the factor. None for a constant factor
            of 1, which needs no length of the run.
        warmup_steps: Number of steps of warm-up.
        total_steps: Function that returns the number of steps of the run; called once, after warm-up. Further steps
            have the last factor.

    Returns:
        A plain function. Schedulers would save a callable object with their state, which does not load without pickle.

    Example:
        >>> linear = make_schedule(SCHEDULES["linear"], 2, lambda: 12)
        >>> [round(linear(step), 2) for step in (0, 1, 2, 7, 12)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    total = cache(total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        if decay is None:
            return 1.0
        if step == warmup_steps:
            return decay(0.0)
        return decay(min((step - warmup_steps) / max(total() - warmup_steps, 1), 1.0))

    return factor


def check_end(name: str, max_epochs: int | None, max_steps: int) -> None:
    """Check that a run has a last step if its schedule depends on it.

    Args:
        name: Name of the schedule.
        max_epochs: The Trainer's ``max_epochs``; -1 for no limit.
        max_steps: The Trainer's ``max_steps``; -1 for no limit.

    Raises:
        MtlError: If the run has no last step.

    Example:
        >>> check_end("cosine", -1, 1000)
        >>> check_end("cosine", -1, -1)
        Traceback (most recent call last):
            ...
        mtl_lightning.errors.MtlError: optimizer.schedule: 'cosine' needs a last step, and this run has none (set
        trainer.max_epochs or trainer.max_steps)
    """
    if SCHEDULES[name] is not None and max_epochs == -1 and max_steps == -1:
        raise MtlError(
            f"optimizer.schedule: {name!r} needs a last step, and this run has none",
            "set trainer.max_epochs or trainer.max_steps",
        )


SCHEDULES: dict[str, Callable[[float], float] | None] = {
    "constant": None,
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: 0.5 * (1.0 + math.cos(math.pi * share)),
}
"""Decays by name; see :func:`make_schedule`."""
