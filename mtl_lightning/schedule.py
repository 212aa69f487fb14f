"""Courses of the learning rate: step → factor."""

import math
from collections.abc import Callable


class Schedule:
    """Linear warm-up, then a decay over the remaining steps.

    Args:
        decay: Share of the run after warm-up in [0, 1] → factor.
        warmup_steps: Steps of warm-up.
        total_steps: Steps of the run; a run that goes on beyond keeps the last factor.

    Example:
        >>> linear = SCHEDULES["linear"](2, 12)
        >>> [round(linear(step), 2) for step in (0, 1, 2, 7, 12)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """

    def __init__(self, decay: Callable[[float], float], warmup_steps: int, total_steps: int) -> None:
        self.decay = decay
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        return self.decay(min(share, 1.0))


def _constant(share: float) -> float:
    return 1.0


def _linear(share: float) -> float:
    return 1.0 - share


def _cosine(share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * share))


SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {
    "constant": lambda warmup, total: Schedule(_constant, warmup, total),
    "linear": lambda warmup, total: Schedule(_linear, warmup, total),
    "cosine": lambda warmup, total: Schedule(_cosine, warmup, total),
}
