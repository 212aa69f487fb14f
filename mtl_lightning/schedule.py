"""Courses of the learning rate: step → factor."""

import math
from collections.abc import Callable
from functools import cache


def schedule(
    decay: Callable[[float], float], warmup_steps: int, total_steps: Callable[[], int]
) -> Callable[[int], float]:
    """Linear warm-up, then a decay over the remaining steps.

    Args:
        decay: Share of the run after warm-up in [0, 1] → factor.
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
        if step == warmup_steps:
            return decay(0.0)
        return decay(min((step - warmup_steps) / max(total() - warmup_steps, 1), 1.0))

    return factor


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: 0.5 * (1.0 + math.cos(math.pi * share)),
}
