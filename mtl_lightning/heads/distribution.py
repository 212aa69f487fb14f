"""Quantiles of a number from a tower."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.heads.scales import SCALES
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import Head, Output, PositiveInt, Share, Task


class DistributionHead(TowerHead):
    """Quantiles of the label at the levels (k − ½) / Q, k = 1 … Q, which never cross.

    The tower gives v_1 … v_Q in the standardised space of :class:`~mtl_lightning.heads.regression.RegressionHead`. The
    middle quantile is v_1, and neighbours k − 1 and k are softplus(v_k) apart. Counts and values have quantiles of at
    least 0. They start as quantiles of a normal distribution with the labels' mean and deviation.

    Source: Koenker & Bassett, "Regression Quantiles", Econometrica 46, 1978, for the loss; Park et al., "Learning
    Quantile Functions without Quantile Crossing for Distribution-free Time Series Forecasting", AISTATS 2022, for
    quantiles as sums of non-negative steps.

    Args:
        task: A task with a number as label.
        width: Width H of the representation.
        parents: Ignored.
        quantiles: Number Q of quantiles.
        level: Level of the quantile that is predicted, interpolated between its neighbours; null for the mean of the
            quantiles, which estimates the label's mean.
        transform: ``none``, or ``log1p`` for labels of at least 0 with a long tail. It changes the space in which
            quantiles are learned, not what they mean.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, Q], ascending, standardised; ``extra["levels"]`` [Q]; prediction [B] in the label's
    unit; details ``quantiles`` and ``levels``, both [B, Q].

    Example:
        >>> task = Task(name="spend", kind="value", label="spend", mean=20.0, scale=10.0)
        >>> head = DistributionHead(task, 8, {}, hidden=[], quantiles=3)
        >>> output = head(torch.zeros(1, 8), {}, {})
        >>> head.details(output, {})["quantiles"].round(decimals=1).tolist(), head.predict(output, {}).round().tolist()
        ([[10.3..., 20.0, 29.7...]], [20.0])
    """

    kinds = frozenset({"regression", "value", "count"})
    loss: ClassVar[str] = "pinball"
    levels: Tensor

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        quantiles: PositiveInt = 20,
        level: Share | None = None,
        transform: Literal["none", "log1p"] = "none",
        **options: Unpack[TowerOptions],
    ) -> None:
        super().__init__(task, width, parents, quantiles, **options)
        self.nonnegative = transform == "log1p"
        self.scale = SCALES[transform](task)
        self.least = task.label_range.lowest
        self.level = level
        levels = (torch.arange(quantiles, dtype=torch.float64) + 0.5) / quantiles
        self.register_buffer("levels", levels.to(torch.get_default_dtype()), persistent=False)
        normal = torch.special.ndtri(levels)
        with torch.no_grad():
            self.tower.output.bias.copy_(torch.cat([normal[[quantiles // 2]], normal.diff().expm1().log()]))

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Quantiles in the standardised space."""
        steps, hidden = self.tower(h)
        above = functional.pad(functional.softplus(steps[:, 1:]), (1, 0)).cumsum(1)
        middle = above.shape[1] // 2
        quantiles = steps[:, :1] + above - above[:, middle : middle + 1]
        return Output(quantiles, hidden, extra={"levels": self.levels}, link=self.link)

    def link(self, label: Tensor) -> Tensor:
        """The label in the units of the task's scale."""
        return self.scale.forward(label)

    def quantiles(self, output: Output) -> Tensor:
        """Quantiles in the label's unit, [B, Q]."""
        return self.scale.inverse(output.logit).clamp_min(self.least)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Mean of the quantiles, or the quantile at ``level``, [B]."""
        quantiles = self.quantiles(output)
        if self.level is None:
            return quantiles.mean(1)
        last = quantiles.shape[1] - 1
        place = min(max(self.level * (last + 1) - 0.5, 0.0), float(last))
        below = int(place)
        return torch.lerp(quantiles[:, below], quantiles[:, min(below + 1, last)], place - below)

    def details(self, output: Output, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``quantiles`` in the label's unit and their ``levels``, both [B, Q]."""
        quantiles = self.quantiles(output)
        return {"quantiles": quantiles, "levels": self.levels.to(quantiles.dtype).expand_as(quantiles)}
