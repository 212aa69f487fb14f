"""A probability of an event that is reported late."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import ColumnName, Head, Output, PositiveFloat, Task

LARGEST = 15.0
"""Largest absolute logarithm of a hazard, in units of ``unit``."""


class LateOptions(TowerOptions, total=False):
    """Options of every :class:`LateHead`."""

    delay: ColumnName
    elapsed: ColumnName
    unit: PositiveFloat


class LateHead(TowerHead):
    """Base of heads that read when an event came, and how long the row has been watched.

    Args:
        task: A binary task.
        width: Width H of the representation.
        parents: Ignored.
        outputs: Number K' of the tower's outputs.
        start: Initial bias of every output.
        delay: Raw column with the time from the row to the event, missing where it has not happened.
        elapsed: Raw column with the time from the row to the log's end; missing means long ago.
        unit: Unit of time, in the columns' own: 86400 for columns in seconds is a day.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.
    """

    kinds = frozenset({"binary"})

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        outputs: int = 1,
        start: float | None = None,
        *,
        delay: ColumnName = ColumnName("delay"),  # noqa: B008
        elapsed: ColumnName = ColumnName("elapsed"),  # noqa: B008
        unit: PositiveFloat = 86_400.0,
        **options: Unpack[TowerOptions],
    ) -> None:
        super().__init__(task, width, parents, outputs, rate_logit(task.mean) if start is None else start, **options)
        self.columns = {"delay": delay, "elapsed": elapsed}
        self.time_unit = unit

    def times(self, raw: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
        """Delay and elapsed time in units, [B, 1] each, of those columns that are there."""
        columns = {name: raw[column] for name, column in self.columns.items() if column in raw}
        return {name: (column / self.time_unit).to(like.dtype).unsqueeze(1) for name, column in columns.items()}

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability that the event ever happens, [B]."""
        return output.logit[:, 0].sigmoid()


class DelayedFeedbackHead(LateHead):
    """Tower for the event's final probability p = σ(a), and one for the hazard λ = e^b of its exponential delay.

    A label of 0 says only that the event has not happened yet. The loss
    :class:`~mtl_lightning.losses.delayed_feedback.DelayedFeedbackLoss` weighs it by the time that has passed. The
    prediction is the probability that the event happens at any time. Columns and hazard matter in training only.
    Hazards start at 1 per ``unit``.

    Source: Chapelle, "Modeling Delayed Feedback in Display Advertising", KDD 2014.

    Args:
        task: A binary task. If its mean is known, the probability starts there.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`LateHead`.

    Shapes: h [B, H] → logit [B, 1]; ``extra``: hazard [B, 1], the logarithm b; delay and elapsed [B, 1] in units, if
    their columns are there; prediction [B].

    Example:
        >>> import torch
        >>> head = DelayedFeedbackHead(Task(name="sale", kind="binary", label="sale"), 8, {})
        >>> output = head(torch.zeros(2, 8), {}, {"elapsed": torch.tensor([43200.0, 172800.0])})
        >>> output.extra["elapsed"].tolist(), output.extra["hazard"].shape
        ([[0.5], [2.0]], torch.Size([2, 1]))
    """

    loss: ClassVar[str] = "delayed_feedback"

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        **options: Unpack[LateOptions],
    ) -> None:
        super().__init__(task, width, parents, **options)
        self.hazard = self.make_tower(1)

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the event, and the logarithm of the hazard."""
        logit, hidden = self.tower(h)
        hazard = self.hazard(h)[0].clamp(-LARGEST, LARGEST)
        return Output(logit, hidden, extra={"hazard": hazard, **self.times(raw, logit)})
