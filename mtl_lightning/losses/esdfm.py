"""Importance weights of labels that were taken early."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import MtlError, Output, PositiveFloat, Target, Task
from mtl_lightning.losses.delayed_feedback import LateLoss
from mtl_lightning.losses.rows import entropies, known_rows


class ESDFMLoss(LateLoss):
    """Weighted cross-entropy of rows as they come in after a waiting time, and again with a late event.

    A row that is younger than ``wait`` is not used. An event within ``wait`` is a positive; otherwise the row is a
    negative, and one more positive if its event has come since. With p_late and p_never of the other two towers, a
    positive has the weight 1 + p_late and a negative (1 + p_late) p_never. No gradient passes through weights.
    On rows that are older than ``mature`` the towers learn, by cross-entropy, whether the event came after ``wait``,
    and, among rows without an event within ``wait``, whether it never came.

    Source: Yang et al., "Capturing Delayed Feedback in Conversion Rate Prediction via Elapsed-Time Sampling", AAAI
    2021, with one waiting time for all rows. The weights assume that as many late events of rows before the log
    come in during the log as are missing at its end; a log of rows has none from before it.

    Args:
        task: A task with the head ``esdfm``.
        wait: Waiting time in the head's units.
        mature: Age in units at which a label counts as final, at least ``wait``.

    Shapes: logit [B, 1], ``extra``: late, never, delay and elapsed [B, 1]; label [B, 1] → scalar.

    Raises:
        MtlError: If the rows have no delay or no elapsed time, or if ``mature`` is below ``wait``.

    Example:
        >>> import torch
        >>> loss, one = ESDFMLoss(Task(name="sale", kind="binary", label="sale")), torch.ones(1, 1)
        >>> extra = {"late": 0 * one, "never": 0 * one, "delay": torch.nan * one, "elapsed": one}
        >>> target = Target(label=0 * one, mask=torch.tensor([True]))
        >>> round(loss(Output(0 * one, extra=extra), target, {}).item(), 4)  # a negative of weight (1 + ½) ½
        0.5199
    """

    heads = frozenset({"esdfm"})

    def __init__(self, task: Task, *, wait: PositiveFloat = 0.25, mature: PositiveFloat = 3.0) -> None:
        super().__init__(task)
        if mature < wait:
            raise MtlError(f"losses.{task.name}.mature: {mature} is below wait, {wait}", "labels are final after it")
        self.wait, self.mature = wait, mature

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean over known labels of both parts."""
        delay, elapsed = self.times(output)
        logit, late, never = (
            known_rows(x, target) for x in (output.logit, output.extra["late"], output.extra["never"])
        )
        came_late = target.label * (delay > self.wait)
        early = target.label - came_late
        seen = entropies(late, came_late) + (1 - early) * entropies(never, 1 - target.label)
        weight = 1 + late.detach().sigmoid()
        taken = target.label * functional.softplus(-logit)
        taken = weight * (taken + (1 - early) * never.detach().sigmoid() * functional.softplus(logit))
        values = (elapsed >= self.wait) * taken + (elapsed >= self.mature) * seen
        return target.mean(values[:, 0])
