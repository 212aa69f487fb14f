"""Base of metrics that rank the rows of each group; rows are kept until the end of an evaluation."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.distributed import no_sync, reduce_sum, route, world_size
from mtl_lightning.interfaces import MtlError, Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight

Rows = tuple[Tensor, Tensor, Tensor, Tensor]
"""Score, label, weight and group of rows, [n] each."""


def group_mean(value: Tensor, share: Tensor, broken: Tensor) -> Tensor:
    """Weighted mean over the groups of all processes; a collective.

    Args:
        value: One per group of this process, [G]; ignored where its share is 0.
        share: Weight of each group in the mean, [G].
        broken: True for rows of this process that cannot be ranked, [n]; a single one makes the mean NaN.
    """
    counted = torch.where(share > 0, value, 0.0) * share
    sums = reduce_sum(torch.stack([counted.sum(), share.sum(), broken.sum().to(share.dtype)]))
    return torch.where(sums[2] > 0, torch.nan, ratio(sums[0], sums[1]))


class GroupedMetric(TaskMetric):
    """Metric that needs all rows of a group (a user) together.

    Each process keeps its rows: 16 bytes each, 24 with sample weights. ``compute`` sends every row once to the process
    that owns its group. So no process holds all rows, and the value is exact.
    """

    name: ClassVar[str]
    scores: list[Tensor]
    labels: list[Tensor]
    weights: list[Tensor]
    groups: list[Tensor]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        for name in ("scores", "labels", "weights", "groups"):
            self.add_state(name, [], dist_reduce_fx=None)
        self.distributed_available_fn = no_sync

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` ranks the rows of a group, [B]. Rows without a group are ignored.

        Raises:
            MtlError: If the batch has no groups.
        """
        if target.group is None:
            raise MtlError(
                f"metrics.{self.task.name}: {self.name} ranks within groups, and the data have none",
                "name the user column with data.group",
            )
        score = prediction.detach().to(torch.promote_types(prediction.dtype, torch.float32))
        weight, counted = score.new_ones(1).expand(len(score)), target.mask  # expanded ones take no memory
        if target.weight is not None:
            weight = row_weight(target)
            counted = weight != 0
        counted = counted & (target.group != WITHOUT_GROUP)
        columns = [score, target.label[:, 0], target.group]
        columns = [_own_storage(column) if bool(counted.all()) else column[counted] for column in columns]
        self.scores.append(columns[0])
        self.labels.append(columns[1])
        self.groups.append(columns[2])
        self.weights.append(weight[: len(columns[0])] if target.weight is None else weight[counted])

    def parts(self) -> list[Rows]:
        """Rows of the groups that this process owns, in parts; a collective."""
        parts = list(zip(self.scores, self.labels, self.weights, self.groups, strict=True))
        if world_size() == 1:
            return parts
        rows, group = route(*stack_parts(parts, self.device))
        score, label, weight = rows.unbind(1)
        return [(score, label, weight, group)]

    def owned(self) -> tuple[Tensor, Tensor]:
        """Score, label and weight, [n, 3] float64, and groups [n] of the rows of :meth:`parts`; a collective."""
        return stack_parts(self.parts(), self.device)


def _own_storage(column: Tensor) -> Tensor:
    """The column, copied if it is a view of a batch, which would otherwise stay in memory."""
    owns_storage = column.untyped_storage().nbytes() == column.numel() * column.element_size()
    return column if owns_storage else column.clone()


def stack_parts(parts: Sequence[Rows], device: torch.device) -> tuple[Tensor, Tensor]:
    """Score, label and weight of all parts, [n, 3] float64, and groups [n]."""
    empty = torch.zeros(0, device=device)
    columns = [torch.cat([empty, *(part[i] for part in parts)]).to(torch.float64) for i in range(3)]
    return torch.stack(columns, 1), torch.cat([empty.to(torch.int64), *(part[3] for part in parts)])
