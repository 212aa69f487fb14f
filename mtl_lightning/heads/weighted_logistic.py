"""Watch time from weighted logistic regression."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from mtl_lightning.heads.tower import TowerHead
from mtl_lightning.interfaces import Output


class WeightedLogisticHead(TowerHead):
    """Odds that equal the expected watch time: E[y] = exp(w·tower(h) + b).

    Every row counts as a negative of weight 1 and a positive of weight y: the learned odds are E[y | h].

    Source: Covington, Adams & Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 4.2;
    there rows are either positive or negative, which makes the odds E[y](1 + P) instead.

    Args:
        task: A task whose label is a time or value of at least 0; odds are in units of its mean.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 1], prediction [B] in the label's unit.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Task
        >>> task = Task(name="watch", kind="regression", label="seconds", mean=40.0)
        >>> head = WeightedLogisticHead(task, 8, {}, hidden=[])
        >>> head.predict(head(torch.zeros(1, 8), {}, {}), {}).item()
        40.0
    """

    kinds = frozenset({"regression", "value", "count"})
    loss: ClassVar[str] = "weighted_logistic"
    nonnegative = True

    def link(self, label: Tensor) -> Tensor:
        """The label in units of the task's mean."""
        return label / self.unit

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Expected time, [B], at most e^30 units: an untrained model must not predict infinity."""
        return output.logit[:, 0].clamp(max=30.0).exp() * self.unit
