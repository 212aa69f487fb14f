"""Rows of a task kept until the end and ranked within groups, all groups at once."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.batch import WITHOUT_GROUP
from mtl_lightning.distributed import no_sync, reduce_sum, route, world_size
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight

Rows = tuple[Tensor, Tensor, Tensor, Tensor]
"""Score, label, weight and group of rows, [n] each."""


def group_mean(value: Tensor, share: Tensor, broken: Tensor) -> Tensor:
    """Mean over the groups of all processes; a collective.

    Args:
        value: One per group of this process, [G]; ignored where its share is 0.
        share: Of each group in the mean, [G].
        broken: Rows of this process that can't be ranked, [n]; one is enough to make the mean NaN.
    """
    counted = torch.where(share > 0, value, 0.0) * share
    sums = reduce_sum(torch.stack([counted.sum(), share.sum(), broken.sum().to(share.dtype)]))
    return torch.where(sums[2] > 0, torch.nan, ratio(sums[0], sums[1]))


class GroupedMetric(TaskMetric):
    """Metrics that need all rows of a group (a user) together.

    Each process keeps its rows (16 bytes each, 24 with sample weights); when the value is asked for, every row is sent
    once to the process that owns its group, so that no process holds all rows and the value is exact.
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
        """Add a batch: ``prediction`` ranks the rows of a group, [B]. Rows that belong to no group don't count.

        Raises:
            MtlError: The batch has no groups.
        """
        if target.group is None:
            raise MtlError(
                f"metrics.{self.task.name}: {self.name} ranks within groups, and the data have none",
                "name the user column with data.group",
            )
        score = prediction.detach().to(torch.promote_types(prediction.dtype, torch.float32))
        weight, kept = score.new_ones(1).expand(len(score)), target.mask  # ones that take no memory
        if target.weight is not None:
            weight = row_weight(target)
            kept = weight != 0
        kept = kept & (target.group != WITHOUT_GROUP)
        columns = [score, target.label[:, 0], target.group]
        columns = [_alone(column) if bool(kept.all()) else column[kept] for column in columns]
        self.scores.append(columns[0])
        self.labels.append(columns[1])
        self.groups.append(columns[2])
        self.weights.append(weight[: len(columns[0])] if target.weight is None else weight[kept])

    def parts(self) -> list[Rows]:
        """The rows of the groups that this process owns, in parts; a collective."""
        parts = list(zip(self.scores, self.labels, self.weights, self.groups, strict=True))
        if world_size() == 1:
            return parts
        rows, group = route(*stacked(parts, self.device))
        score, label, weight = rows.unbind(1)
        return [(score, label, weight, group)]

    def owned(self) -> tuple[Tensor, Tensor]:
        """The same as one: score, label and weight, [n, 3] float64, and groups [n]; a collective."""
        return stacked(self.parts(), self.device)


def _alone(column: Tensor) -> Tensor:
    """The column; a copy if it is part of a batch that would be kept with it."""
    whole = column.untyped_storage().nbytes() == column.numel() * column.element_size()
    return column if whole else column.clone()


def stacked(parts: Sequence[Rows], device: torch.device) -> tuple[Tensor, Tensor]:
    """Score, label and weight of all parts, [n, 3] float64, and groups [n]."""
    empty = torch.zeros(0, device=device)
    columns = [torch.cat([empty, *(part[i] for part in parts)]).to(torch.float64) for i in range(3)]
    return torch.stack(columns, 1), torch.cat([empty.to(torch.int64), *(part[3] for part in parts)])
