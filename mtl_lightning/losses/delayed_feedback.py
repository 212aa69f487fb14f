"""Likelihood of events that are reported late."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import Loss, MtlError, Output, Target, Task
from mtl_lightning.losses.rows import known_rows

SHORTEST = 1e-6
"""Shortest time, in units, in which an event of unknown delay has happened."""


class LateLoss(Loss):
    """Base of losses that read when an event came, and how long the row has been watched.

    Args:
        task: A binary task with a head that gives the times.

    Raises:
        MtlError: If the rows have no delay or no elapsed time.
    """

    kinds = frozenset({"binary"})

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task.name

    def times(self, output: Output) -> tuple[Tensor, Tensor]:
        """Delay, NaN where unknown, and elapsed time, infinite where unknown, [B, 1] each and at least 0."""
        for name in ("delay", "elapsed"):
            if name not in output.extra:
                raise MtlError(f"heads.{self.task}.{name}: the rows have no such column", "name a column of the source")
        delay, elapsed = (output.extra[name].clamp(min=0) for name in ("delay", "elapsed"))
        return delay, torch.where(elapsed.isnan(), torch.inf, elapsed)


class DelayedFeedbackLoss(LateLoss):
    """Joint likelihood of an event and its exponential delay.

    With p = σ(a), hazard λ = e^b, delay d and elapsed time e:

    - label 1: −log p − log λ + λ d; with an unknown delay, −log p − log(1 − e^(−λ e));
    - label 0: −log(1 − p + p e^(−λ e)), which is −log(1 − p) where the elapsed time is unknown.

    A density can exceed one, so this loss can be negative. Weighters that take its logarithm need another loss.

    Source: Chapelle, "Modeling Delayed Feedback in Display Advertising", KDD 2014, equations 8 and 9.

    Args:
        task: A task with the head ``delayed_feedback``.

    Shapes: logit [B, 1], ``extra``: hazard, delay and elapsed [B, 1]; label [B, 1] → scalar.

    Raises:
        MtlError: If the rows have no delay or no elapsed time.

    Example:
        >>> loss = DelayedFeedbackLoss(Task(name="sale", kind="binary", label="sale"))
        >>> zero, one = torch.zeros(1, 1), torch.ones(1, 1)
        >>> output = Output(zero, extra={"hazard": zero, "delay": one * torch.nan, "elapsed": one})
        >>> round(loss(output, Target(label=zero, mask=torch.tensor([True])), {}).item(), 4)  # −log(½ + ½ / e)
        0.3799
    """

    heads = frozenset({"delayed_feedback"})

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean negative log-likelihood over known labels."""
        delay, passed = self.times(output)
        logit = known_rows(output.logit, target)
        logarithm = known_rows(output.extra["hazard"], target)
        hazard = logarithm.exp()
        survival = -hazard * passed.clamp(max=1e12)  # so that zero hazards times infinite times are finite
        happened = functional.softplus(-logit)
        in_time = -torch.log(-torch.expm1(survival.clamp(max=-SHORTEST)))
        when = torch.where(delay.isnan(), in_time, hazard * delay.nan_to_num() - logarithm)
        not_yet = -torch.logaddexp(-functional.softplus(logit), survival - functional.softplus(-logit))
        values = torch.where(target.label > 0.5, happened + when, not_yet)
        return target.mean(values[:, 0])
