"""Watch time as a quantile among items of like duration."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.heads.interpolation import interpolate
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import ColumnName, Head, Output, PositiveInt, Task


class D2QHead(TowerHead):
    """Tower that predicts the quantile of the watch time among rows of like duration: y = F_g⁻¹(σ(w·tower(h) + b)).

    Long items are watched longer whatever the interest; the quantile within the duration group g removes this effect.
    The groups' quantile tables F_g are learned with the network by the pinball loss, while the paper counts them
    beforehand. They need no pass over the data, are equal on several processes, and are saved with the weights.

    Source: Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation", KDD 2022.

    Args:
        task: A task whose label is a time of at least 0. If its mean is known, the tables start as exponential.
        width: Width H of the representation.
        parents: Ignored.
        duration: Raw column with the item's duration; without it there is a single group. Rows of unknown duration
            (NaN) are a group of their own.
        edges: Ascending bounds of the duration groups, in the unit of ``duration``.
        quantiles: Entries Q of a table.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 1], prediction [B] in the label's unit; ``extra["table"]`` [B, Q], the row's quantiles,
    ``extra["levels"]`` [Q], ``extra["unit"]``, their unit, and ``extra["quantile"]`` [B, 1], the prediction.

    Example:
        >>> import torch
        >>> task = Task(name="watch", kind="regression", label="s", mean=40.0)
        >>> head = D2QHead(task, 8, {}, hidden=[], duration="length")
        >>> raw = {"length": torch.tensor([12.0, 400.0])}
        >>> head.predict(head(torch.zeros(2, 8), {}, raw), raw).shape
        torch.Size([2])
    """

    kinds = frozenset({"regression", "value", "count"})
    loss: ClassVar[str] = "d2q"
    nonnegative = True
    edges: Tensor
    levels: Tensor

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        duration: ColumnName | None = None,
        edges: Sequence[float] = (7, 15, 30, 60, 120, 300),
        quantiles: PositiveInt = 20,
        **options: Unpack[TowerOptions],
    ) -> None:
        super().__init__(task, width, parents, **options)
        self.duration = duration
        self.register_buffer("edges", torch.tensor([float(edge) for edge in edges]), persistent=False)
        self.register_buffer("levels", (torch.arange(quantiles) + 0.5) / quantiles, persistent=False)
        groups = len(edges) + 2 if duration else 1  # the last one for rows without a duration
        steps = torch.diff(-torch.log1p(-self.levels), prepend=torch.zeros(1))
        self.steps = nn.Parameter(steps.expm1().log().repeat(groups))

    def table(self, h: Tensor, raw: Mapping[str, Tensor]) -> Tensor:
        """Quantiles of each row's group in units of the task's mean, [B, Q]."""
        tables = functional.softplus(self.steps).view(-1, len(self.levels)).cumsum(1)
        if self.duration is None:
            return tables.expand(h.shape[0], -1)
        length = raw[self.duration].to(self.edges.dtype).contiguous()
        group = torch.bucketize(length.nan_to_num(0.0), self.edges, right=True)
        return tables[torch.where(length.isnan(), len(self.edges) + 1, group)]

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the predicted quantile."""
        logit, hidden = self.tower(h)
        table = self.table(h, raw)
        knots, levels = self.curve(table.detach())

        def link(label: Tensor) -> Tensor:
            """The label's quantile in its row's group."""
            return interpolate(label / self.unit, knots, levels)

        unit = self.levels.new_tensor(self.unit)
        extra = {"quantile": logit.sigmoid(), "table": table * self.unit, "levels": self.levels, "unit": unit}
        return Output(logit, hidden, extra=extra, link=link)

    def curve(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Knots and levels [B, Q + 1] of the rows' distribution functions, from (0, 0)."""
        knots = functional.pad(table, (1, 0))
        return knots, functional.pad(self.levels, (1, 0)).to(knots.dtype).expand_as(knots)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Time at the predicted quantile of the row's group, [B]."""
        knots, levels = self.curve(output.extra["table"])
        return interpolate(output.extra["quantile"], levels, knots)[:, 0]
