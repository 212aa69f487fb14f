"""Share of correctly ordered pairs, for labels on a scale."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.distributed import gather, no_sync
from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight


class XAUC(TaskMetric):
    """Probability that, of two rows with different labels, the row with the larger label has the larger prediction.

    All pairs count, not a sample; equal predictions count one half. For labels 0 and 1 this is the AUC. The weight of
    a pair is the product of its rows' weights. Memory grows with the rows (24 bytes each).

    Args:
        task: A regression, count, value or ordinal task.

    Returns from ``compute``: a scalar in [0, 1]; NaN without two different labels, or with a NaN prediction.

    Source:
        Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation", KDD 2022,
        section 5.1.3.

    Example:
        >>> metric = XAUC(Task(name="dwell", kind="regression", label="dwell"))
        >>> target = Target(label=torch.tensor([[3.0], [8.0], [1.0]]), mask=torch.ones(3, dtype=torch.bool))
        >>> metric.update(torch.tensor([4.0, 5.0, 4.5]), target)
        >>> round(metric.compute().item(), 4)
        0.6667
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"count", "ordinal", "regression", "value"})
    higher_is_better = True
    rows: list[Tensor]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add_state("rows", [], dist_reduce_fx=None)
        self.distributed_available_fn = no_sync

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` is in the unit of the label, [B]."""
        weight = row_weight(target)
        columns = (prediction.detach(), target.label[:, 0], weight)
        self.rows.append(torch.stack([column[weight > 0].to(torch.float64) for column in columns], 1))

    def compute(self) -> Tensor:
        """The share, a scalar. All processes must call it."""
        rows = gather(torch.cat([torch.zeros(0, 3, dtype=torch.float64, device=self.device), *self.rows]))
        prediction, label, weight = rows.unbind(1)
        pairs = unequal_weight(label, torch.zeros_like(label), weight)
        tied = unequal_weight(label, prediction, weight)
        if prediction.isnan().any():
            return torch.full_like(pairs, torch.nan)
        # Sorted by prediction, then label: tied pairs first count as ordered, then one half is subtracted.
        order = torch.argsort(label, stable=True)
        order = order[torch.argsort(prediction[order], stable=True)]
        return ratio(ordered_weight(label[order], weight[order]) - tied / 2, pairs)


def unequal_weight(values: Tensor, within: Tensor, weight: Tensor) -> Tensor:
    """Sum of products of weights over the unordered pairs that agree in ``within`` and differ in ``values``, a scalar.

    It is a sum of non-negative terms without subtraction, so it is exactly 0 if there is no such pair.

    Example:
        >>> values, within = torch.tensor([1.0, 1.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 0.0, 9.0])
        >>> unequal_weight(values, within, torch.ones(4)).item()
        2.0
    """
    order = torch.argsort(values, stable=True)
    order = order[torch.argsort(within[order], stable=True)]
    values, within, weight = values[order], within[order], weight[order]
    outer = torch.ones_like(values, dtype=torch.bool)
    outer[1:] = within[1:] != within[:-1]
    inner = outer.clone()
    inner[1:] |= values[1:] != values[:-1]
    levels = weight.new_zeros(int(inner.sum())).scatter_add_(0, inner.cumsum(0) - 1, weight)
    before = levels.cumsum(0) - levels
    first = outer[inner]
    before = before - before[first][first.cumsum(0) - 1]
    return (levels * before).sum()


def ordered_weight(values: Tensor, weight: Tensor) -> Tensor:
    """Sum of products of weights over the pairs whose earlier row has the smaller value, a scalar.

    Computed as a wavelet tree, level by level. Rows that agree in the higher bits of their values' ranks stay
    together, and at each bit every 1 is compared with the 0s before it. The cost is O(n log n), with a few vectorised
    operations per level.

    Example:
        >>> ordered_weight(torch.tensor([1.0, 3.0, 2.0]), torch.ones(3)).item()
        2.0
    """
    level = torch.unique(values, return_inverse=True)[1]
    count = torch.zeros((), dtype=weight.dtype, device=weight.device)
    if len(level) == 0:
        return count
    for bit in reversed(range(int(level.max()).bit_length())):
        prefix, bit_is_set = level >> (bit + 1), (level >> bit) & 1 == 1
        zeros = torch.where(bit_is_set, 0.0, weight)
        # Rows with the same prefix are adjacent, in original order. before: weight of the prefix's earlier zeros.
        before = zeros.cumsum(0) - zeros
        first = torch.ones_like(bit_is_set)
        first[1:] = prefix[1:] != prefix[:-1]
        before = before - before[first][first.cumsum(0) - 1]
        count += torch.where(bit_is_set, weight * before, 0.0).sum()
        order = torch.argsort(level >> bit, stable=True)
        level, weight = level[order], weight[order]
    return count
