"""A probability without the effect of the position."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.heads.probability import rate_logit, served
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import ColumnName, DropRate, Head, Output, PositiveInt, Task


class PositionBiasHead(TowerHead):
    """Tower for relevance plus a bias per position: logit = tower(h) + b[position]; serving leaves b out.

    b is relative to the first position, so the prediction is the probability at the first position. Without the
    position column (serving) the logit is the relevance alone. Rows of unknown position (NaN, or left out by
    ``drop_position``) have a bias of their own, so that they do not count as rows of the first position.

    Source: Zhao et al., "Recommending What Video to Watch Next: A Multitask Ranking System", RecSys 2019, section 4.3
    (a shallow tower for selection bias); the examination hypothesis in log-odds.

    Args:
        task: A binary task. If its mean is known, the bias starts at the log-odds of it.
        width: Width H of the representation.
        parents: Ignored.
        position: Raw column with the position in the list, counted from ``first``.
        first: Number of the first position.
        positions: Number of distinct positions; earlier and later ones count as the nearest of these.
        drop_position: Probability of treating a row's position as unknown in training.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 1] with the bias, ``extra["served"]`` [B, 1] without; prediction [B].

    Example:
        >>> import torch
        >>> task = Task(name="click", kind="binary", label="click")
        >>> head = PositionBiasHead(task, 8, {}, position="slot")
        >>> head.predict(head(torch.zeros(2, 8), {}, {"slot": torch.tensor([1.0, 7.0])}), {}).shape
        torch.Size([2])
    """

    kinds = frozenset({"binary"})
    loss: ClassVar[str] = "bce"

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        position: ColumnName | None = None,
        first: int = 1,
        positions: PositiveInt = 20,
        drop_position: DropRate = 0.1,
        **options: Unpack[TowerOptions],
    ) -> None:
        super().__init__(task, width, parents, 1, rate_logit(task.mean), **options)
        self.position, self.first, self.drop_position = position, first, drop_position
        # Biases of the second to the last position, then of an unknown position.
        self.bias = nn.Parameter(torch.zeros(positions)) if position is not None else None

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds at the row's position, and at the first."""
        relevance, hidden = self.tower(h)
        if self.position is None or self.bias is None or self.position not in raw:
            return Output(relevance, hidden)
        position, unknown = raw[self.position], len(self.bias)
        place = (position.nan_to_num(self.first) - self.first).clamp(0, unknown - 1).long()
        missing = position.isnan()
        if self.training and self.drop_position > 0:
            missing = missing | (torch.rand_like(position) < self.drop_position)
        bias = torch.cat([self.bias.new_zeros(1), self.bias])[torch.where(missing, unknown, place)]
        return Output(relevance + bias.unsqueeze(1), hidden, extra={"served": relevance})

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability at the first position, [B]."""
        return served(output)[:, 0].sigmoid()
