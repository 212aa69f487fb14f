"""Area under the ROC curve."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.distributed import gather, no_sync
from mtl_lightning.interfaces import Target, Task, TaskMetric
from mtl_lightning.metrics.binary.histogram import BINS, area, bin_index
from mtl_lightning.metrics.row_weights import row_weight


class AUC(TaskMetric):
    """Area under the ROC curve: the chance that a positive row scores above a negative one; ties count one half.

    By default it is computed from a histogram of the logit with 65,536 bins
    (:mod:`mtl_lightning.metrics.binary.histogram`). This takes constant memory, and is within 1e-4 of the exact value
    if the model spreads its scores over thousands of bins. For multilabel tasks it is the unweighted mean over the
    labels for which it is defined. A label between 0 and 1 is the chance that its row is positive.

    Args:
        task: The task; binary, soft_binary, or multilabel with predictions [B, K].
        exact: Keep every row (24 bytes) and sort once at the end. Exact to rounding; memory grows with the rows.

    Returns from ``compute``: a scalar in [0, 1]; NaN with one class only, without known rows, or with a prediction
    that is NaN or outside [0, 1].

    Source:
        Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
        Radiology 1982. Rows are weighted as in the loss (``sample_weight``).

    Example:
        >>> metric = AUC(Task(name="click", kind="binary", label="click"))
        >>> label, known = torch.tensor([[1.0], [0.0], [1.0]]), torch.ones(3, dtype=torch.bool)
        >>> metric.update(torch.tensor([0.9, 0.2, 0.1]), Target(label=label, mask=known))
        >>> metric.compute().item()
        0.5
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multilabel", "soft_binary"})
    higher_is_better = True
    positive: Tensor
    negative: Tensor
    own: Tensor
    rows: list[Tensor]

    def __init__(self, task: Task, *, exact: bool = False) -> None:
        super().__init__(task)
        self.exact = exact
        if exact:
            self.add_state("rows", [], dist_reduce_fx=None)
            self.distributed_available_fn = no_sync
        else:
            shape = (task.width, BINS + 1)
            self.add_state("positive", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state("negative", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
            self.add_state("own", torch.zeros(task.width, dtype=torch.float64), dist_reduce_fx="sum")

    def compared(self, prediction: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, probabilities of being positive and weights of the rows, each [B, K]."""
        score = prediction.detach().reshape(target.label.shape)
        return score, target.label.to(torch.float64), row_weight(target)[:, None].expand(target.label.shape)

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds probabilities, [B] or [B, K]."""
        score, chance, weight = self.compared(prediction, target)
        chance = torch.where(weight > 0, chance, 0.0)
        if self.exact:
            self.rows.append(torch.cat([score.to(torch.float64), chance, weight], 1)[weight[:, 0] > 0])
            return
        index = bin_index(score).T
        weight = weight.T
        self.positive.scatter_add_(1, index, weight * chance.T)
        self.negative.scatter_add_(1, index, weight * (1 - chance.T))
        self.own += (weight.square() * (chance * (1 - chance)).T).sum(1)

    def curve(self, positive: Tensor, negative: Tensor, own: Tensor) -> Tensor:
        """Area of each histogram, [K]."""
        return area(positive, negative, own)

    def compute(self) -> Tensor:
        """The area, a scalar."""
        if not self.exact:
            return defined_mean(self.curve(self.positive, self.negative, self.own), self.positive, self.negative)
        empty = torch.zeros(0, 3 * self.task.width, dtype=torch.float64, device=self.device)
        score, chance, weight = gather(torch.cat([empty, *self.rows])).chunk(3, 1)
        areas, broken = [], []
        for column in zip(score.T, chance.T, weight.T, strict=True):
            positive, negative, own = by_score(*column)
            areas.append(self.curve(positive, negative, own))
            broken.append(torch.stack([positive[-1], negative[-1]]))
        return defined_mean(torch.stack(areas), *torch.stack(broken, 1)[..., None])


def defined_mean(areas: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Mean over labels [K] of the defined areas; NaN if any label has a row in the last of its bins [K, n]."""
    broken = ((positive[:, -1] + negative[:, -1]) != 0).any()
    return torch.where(broken, torch.nan, areas.nanmean())


def by_score(score: Tensor, chance: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Histogram with one bin per distinct score, as :func:`~mtl_lightning.metrics.binary.histogram.area` takes it.

    Args:
        score: [n].
        chance: Probability of each row to be positive; its label if the label is known, [n].
        weight: [n].
    """
    _, level = torch.unique(score, return_inverse=True)
    levels = int(level.max()) + 1 if len(level) else 0
    # One extra level for rows that cannot be ranked, as in the histogram.
    level = torch.where((score >= 0) & (score <= 1), level, levels)
    positive, negative = torch.zeros(2, levels + 1, dtype=torch.float64, device=score.device)
    positive.scatter_add_(0, level, weight * chance)
    negative.scatter_add_(0, level, weight * (1 - chance))
    return positive, negative, (weight.square() * chance * (1 - chance)).sum()
