"""A number from a tower."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Unpack

from torch import Tensor

from mtl_lightning.heads.scales import SCALES
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, Task


class RegressionHead(TowerHead):
    """Tower that works on standardised labels and predicts on the label's own scale.

    The loss compares the tower's output with (g(y) − m) / s. Here g is the identity or log(1 + y), and m and s are mean
    and standard deviation of g(y), so that a task in seconds and one in stars weigh alike. With ``log1p`` the
    prediction is a typical (median-like) value rather than a mean. It suits skewed labels that are judged by absolute
    error, but the sum of predictions is too low.

    Args:
        task: A task with a number as label. Without a fitted mean and scale, m = 0 and s = 1.
        width: Width H of the representation.
        parents: Ignored.
        transform: ``none``, or ``log1p`` for labels of at least 0 with a long tail.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 1], standardised; prediction [B] in the label's unit.

    Example:
        >>> import torch
        >>> task = Task(name="dwell", kind="regression", label="seconds", mean=60.0, scale=20.0)
        >>> head = RegressionHead(task, 8, {}, hidden=[])
        >>> head.predict(head(torch.zeros(1, 8), {}, {}), {}).item()
        60.0
    """

    kinds = frozenset({"regression", "count", "value"})
    loss: ClassVar[str] = "mse"

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        transform: Literal["none", "log1p"] = "none",
        **options: Unpack[TowerOptions],
    ) -> None:
        super().__init__(task, width, parents, **options)
        self.nonnegative = transform == "log1p"
        self.scale = SCALES[transform](task)
        self.least = task.label_range.lowest

    def link(self, label: Tensor) -> Tensor:
        """The label in the units of the task's scale."""
        return self.scale.forward(label)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Value in the label's unit, [B]; at least 0 for counts and values."""
        return self.scale.inverse(output.logit[:, 0]).clamp_min(self.least)
