"""Expected calibration error."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from mtl_lightning.distributed import reduce_sum
from mtl_lightning.interfaces import PositiveInt, Target, Task, TaskMetric
from mtl_lightning.metrics.binary.histogram import BINS, bin_index
from mtl_lightning.metrics.row_weights import chance, ratio, row_weight


class ECE(TaskMetric):
    """Mean distance between predicted and observed rate, over groups of rows with similar predictions.

    Args:
        task: A binary task.
        bins: Number of groups.
        groups: ``mass`` for groups of equally many rows, at the resolution of the 65,536 bins of
            :mod:`mtl_lightning.metrics.binary.histogram`; ``width`` for equally wide groups, as in the paper. Rare
            events need ``mass``: nearly all their predictions are in the first of the equally wide groups.

    Returns from ``compute``: a scalar in [0, 1]; NaN without known rows, or with a prediction
    that is NaN or outside [0, 1].

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3; groups of equal mass as in
        Nixon et al., "Measuring Calibration in Deep Learning", CVPR workshops 2019.

    Example:
        >>> metric = ECE(Task(name="click", kind="binary", label="click"), bins=2)
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.ones(2, dtype=torch.bool))
        >>> metric.update(torch.tensor([0.75, 0.25]), target)
        >>> metric.compute().item()
        0.25
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "soft_binary"})
    higher_is_better = False
    cells: Tensor

    def __init__(self, task: Task, *, bins: PositiveInt = 15, groups: Literal["mass", "width"] = "mass") -> None:
        super().__init__(task)
        self.bins = bins
        self.groups = groups
        size = bins if groups == "width" else BINS + 1
        # Weight, predicted and observed sums per cell.
        self.add_state("cells", torch.zeros(3, size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B]."""
        # Unknown rows stay, with weight 0: their number is a size, for which the host of a GPU would have to wait.
        weight = row_weight(target)
        known = weight > 0
        p, label = torch.where(known, chance(prediction), 0.0), torch.where(known, target.label[:, 0], 0.0)
        weight = torch.where(known, weight, 0.0)
        if self.groups == "width":
            index = (p * self.bins).ceil().sub(1).nan_to_num(nan=0).to(torch.int64).clamp(0, self.bins - 1)
        else:
            index = bin_index(p)
        for cell, values in zip(self.cells, (weight, weight * p, weight * label), strict=True):
            cell.scatter_add_(0, index, values)

    def reliability(self) -> Tensor:
        """Points of a reliability plot: weight, mean prediction and observed rate of each group, [3, bins]."""
        weight, predicted, observed = self.grouped().unbind(0)
        return torch.stack([weight, ratio(predicted, weight), ratio(observed, weight)])

    def points(self) -> dict[str, list[float]]:
        """Reliability plot over all processes, as lists of at most ``bins`` numbers; a collective."""
        own_cells, self.cells = self.cells, reduce_sum(self.cells)
        points = self.reliability()
        self.cells = own_cells
        names = ("weight", "predicted", "observed")
        return dict(zip(names, points[:, points[0] != 0].tolist(), strict=True))

    def grouped(self) -> Tensor:
        """Weight, predicted and observed sums of each group, [3, bins]."""
        if self.groups == "width":
            return self.cells
        weight = self.cells[0]
        middle = (weight.cumsum(0) - weight / 2) / weight.sum().clamp_min(torch.finfo(torch.float64).tiny)
        group = (middle * self.bins).to(torch.int64).clamp(0, self.bins - 1)
        return self.cells.new_zeros(3, self.bins).scatter_add_(1, group.expand(3, -1), self.cells)

    def compute(self) -> Tensor:
        """The mean distance, a scalar."""
        weight, predicted, observed = self.grouped().unbind(0)
        return ratio((predicted - observed).abs().sum(), weight.sum())
