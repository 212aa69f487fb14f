"""A probability of an event that is reported late, from weights of early labels."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from mtl_lightning.heads.delayed_feedback import LateHead, LateOptions
from mtl_lightning.interfaces import Head, Output, Task


class ESDFMHead(LateHead):
    """Tower for the event's final probability, and two for the weights that its early labels need.

    A row is used once a waiting time has passed, and once more when its event comes after that. Two towers learn from
    old rows how likely the event is to come late, and how likely a row without it yet stays without. The loss
    :class:`~mtl_lightning.losses.esdfm.ESDFMLoss` weighs by them. They and the columns matter in training only.

    Source: Yang et al., "Capturing Delayed Feedback in Conversion Rate Prediction via Elapsed-Time Sampling", AAAI
    2021. There the two classifiers are a model that is trained before; here they share the representation.

    Args:
        task: A binary task. If its mean is known, the probability starts there.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.delayed_feedback.LateHead`.

    Shapes: h [B, H] → logit [B, 1]; ``extra``: late and never [B, 1], log-odds; delay and elapsed [B, 1] in units, if
    their columns are there; prediction [B].

    Example:
        >>> import torch
        >>> head = ESDFMHead(Task(name="sale", kind="binary", label="sale"), 8, {})
        >>> sorted(head(torch.zeros(2, 8), {}, {"elapsed": torch.ones(2)}).extra)
        ['elapsed', 'late', 'never']
    """

    loss: ClassVar[str] = "esdfm"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[LateOptions]) -> None:
        super().__init__(task, width, parents, **options)
        self.late, self.never = self.make_tower(1), self.make_tower(1)

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the event, of a late event, and of no event where none came early."""
        logit, hidden = self.tower(h)
        weights = {"late": self.late(h)[0], "never": self.never(h)[0]}
        return Output(logit, hidden, extra={**weights, **self.times(raw, logit)})
