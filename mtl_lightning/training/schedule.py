"""Courses of the learning rate: step → factor."""

import math
from collections.abc import Callable
from functools import cache

from mtl_lightning.errors import MtlError


def schedule(
    decay: Callable[[float], float] | None, warmup_steps: int, total_steps: Callable[[], int]
) -> Callable[[int], float]:
    """Linear warm-up, then a decay over the remaining steps.

    Args:
        decay: Share of the run after warm-up in [0, 1] → factor; None for 1 at all times, of a run of any length.
        warmup_steps: Steps of warm-up.
        total_steps: Steps of the run, asked for once, after warm-up; a run that goes on beyond keeps the last factor.

    Returns:
        A plain function: schedulers save callable objects with their state, and those don't load without pickle.

    Example:
        >>> linear = schedule(SCHEDULES["linear"], 2, lambda: 12)
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
    """Refuse a schedule that depends on the length of a run without end.

    Args:
        name: Of the schedule.
        max_epochs: The Trainer's; -1 for no limit.
        max_steps: The Trainer's; -1 for no limit.

    Raises:
        MtlError: If there is no length.

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
