"""A probability from the windows in which an event can come."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from mtl_lightning.heads.delayed_feedback import LateHead, LateOptions
from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.interfaces import Head, MtlError, Output, Task


class DelayWindowsHead(LateHead):
    """An output per window of the delay, each learned from rows that are older than the window's end.

    The label is the sum of its parts by window, of which at most one is 1. The prediction is the sum of the windows'
    probabilities, at most 1: the event's probability up to the last window's end. No shape of the delay is assumed.

    Source: Badanidiyuru et al., "Handling Many Conversions Per Click in Modeling Delayed Feedback", AdKDD 2021, arXiv
    2101.02284: the split of the label into delay buckets, each trained on mature labels. Its thermometer encoding and
    auxiliary information are not part of this head. The paper counts many events; here there is at most one.

    Args:
        task: A binary task. If its mean is known, the windows share it at the start.
        width: Width H of the representation.
        parents: Ignored.
        windows: Ascending ends w_1 … w_K of the windows in units; the first begins at 0. A later event counts as none,
            and a window teaches only if the log has rows that are older than its end.
        options: Options of :class:`~mtl_lightning.heads.delayed_feedback.LateHead`.

    Shapes: h [B, H] → logit [B, K]; ``extra``: windows [K]; delay and elapsed [B, 1] in units, if their columns are
    there; prediction [B].

    Raises:
        MtlError: If the windows do not ascend from above zero.

    Example:
        >>> head = DelayWindowsHead(Task(name="sale", kind="binary", label="sale", mean=0.2), 8, {}, windows=[1.0, 7.0])
        >>> head.predict(Output(torch.zeros(1, 2)), {}).item()
        1.0
    """

    loss: ClassVar[str] = "delay_windows"
    windows: Tensor

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        windows: Sequence[float] = (0.25, 1.0, 3.0),
        **options: Unpack[LateOptions],
    ) -> None:
        if not windows or min(b - a for a, b in pairwise([0.0, *windows])) <= 0:
            raise MtlError(f"heads.{task.name}.windows: not ascending from above zero", "such as [0.25, 1, 3]")
        start = rate_logit(task.mean and task.mean / len(windows))
        super().__init__(task, width, parents, len(windows), start, **options)
        self.register_buffer("windows", torch.tensor(windows), persistent=False)

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of an event in each window."""
        logit, hidden = self.tower(h)
        return Output(logit, hidden, extra={"windows": self.windows, **self.times(raw, logit)})

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of an event up to the last window's end, [B]."""
        return output.logit.sigmoid().sum(1).clamp(max=1)
