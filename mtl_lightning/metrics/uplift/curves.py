"""Curves of outcomes over rows in descending order of a predicted effect, and the base of metrics made of them.

Shapes: n rows, L distinct scores. Rows of equal score form one point of a curve, so that their order does not matter.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mtl_lightning.distributed import gather, no_sync
from mtl_lightning.interfaces import MtlError, Target, Task, TaskMetric
from mtl_lightning.metrics.row_weights import ratio, row_weight


class Counts(NamedTuple):
    """Weights of the rows up to each distinct score, from the highest, each [L]."""

    treated_positive: Tensor
    treated: Tensor
    control_positive: Tensor
    control: Tensor


class Ranking:
    """Rows in descending order of a score.

    Args:
        score: [n].
        label: 0 or 1, [n].
        treatment: 0 or 1, [n].

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> ranking = Ranking(torch.tensor([0.2, 0.7]), torch.cat([one, one]), torch.cat([zero, one]))
        >>> ranking.counts(torch.tensor([3.0, 5.0])).treated.tolist()
        [5.0, 5.0]
    """

    def __init__(self, score: Tensor, label: Tensor, treatment: Tensor) -> None:
        self.order = torch.argsort(score, descending=True, stable=True)
        score = score[self.order]
        last = torch.ones_like(score, dtype=torch.bool)
        last[:-1] = score[1:] != score[:-1]
        self.ends = last.nonzero()[:, 0]
        arms = torch.stack([treatment * label, treatment, (1 - treatment) * label, 1 - treatment])
        self.arms = arms[:, self.order]

    def counts(self, weight: Tensor) -> Counts:
        """Sums of the rows' weights [n] up to each distinct score."""
        return Counts(*(self.arms * weight[self.order]).cumsum(1)[:, self.ends])


def quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient, 0 where the denominator is 0: an arm without rows so far."""
    return torch.where(denominator > 0, numerator / denominator, 0.0)


def qini_gain(counts: Counts) -> Tensor:
    """Positives that the treatment adds among the rows so far, in rows of the treated arm, [L]."""
    return counts.treated_positive - counts.control_positive * quotient(counts.treated, counts.control)


def uplift_gain(counts: Counts) -> Tensor:
    """Positives that a treatment of all rows so far adds, [L]."""
    rates = quotient(counts.treated_positive, counts.treated) - quotient(counts.control_positive, counts.control)
    return rates * (counts.treated + counts.control)


def area(counts: Counts, gain: Tensor) -> Tensor:
    """Area under a curve over the weight of the rows so far, which starts at (0, 0), by the trapezoidal rule."""
    rows, zero = counts.treated + counts.control, gain.new_zeros(1)
    return torch.trapezoid(torch.cat([zero, gain]), torch.cat([zero, rows]))


def both_arms(counts: Counts, value: Tensor) -> Tensor:
    """The value, NaN if an arm has no rows."""
    if not len(counts.treated):
        return torch.full_like(value, torch.nan)
    return torch.where((counts.treated[-1] > 0) & (counts.control[-1] > 0), value, torch.nan)


class QiniCoefficient:
    """Qini coefficient as a function of row weights; the rows are sorted once.

    Args:
        score: Predicted effects, [n].
        label: 0 or 1, [n].
        treatment: 0 or 1, [n].

    Example:
        >>> label, treatment = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
        >>> QiniCoefficient(label * treatment, label, treatment)(torch.ones(4)).item()
        0.6666666865348816
    """

    def __init__(self, score: Tensor, label: Tensor, treatment: Tensor) -> None:
        self.model = Ranking(score, label, treatment)
        self.best = Ranking(label * (2 * treatment - 1), label, treatment)

    def __call__(self, weight: Tensor) -> Tensor:
        """The coefficient, a scalar; NaN if an arm has no rows or no order is better than another."""
        counts, best = self.model.counts(weight), self.best.counts(weight)
        gain = qini_gain(counts)
        chance = gain[-1:].sum() * (counts.treated + counts.control)[-1:].sum() / 2
        value = ratio(area(counts, gain) - chance, area(best, qini_gain(best)) - chance)
        return both_arms(counts, value)


class UpliftMetric(TaskMetric):
    """A metric of all rows with known label and treatment, which are exchanged at the end (32 bytes each).

    Args:
        task: A task of kind ``uplift``, whose head gives the detail ``treatment``.
    """

    kinds = frozenset({"uplift"})
    higher_is_better = True
    rows: list[Tensor]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.add_state("rows", [], dist_reduce_fx=None)
        self.distributed_available_fn = no_sync

    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` holds effects, [B].

        Raises:
            MtlError: If the task's head gives no treatment.
        """
        if "treatment" not in target.details:
            reason = f"metrics.{self.task.name}: the head gives no treatment"
            raise MtlError(reason, "take a head such as t_learner, and name its column: treatment")
        weight, treatment = row_weight(target), target.details["treatment"]
        counted = (weight > 0) & ~treatment.isnan()
        columns = (prediction.detach(), target.label[:, 0], treatment, weight)
        self.rows.append(torch.stack([column[counted].to(torch.float64) for column in columns], 1))

    def value(self, score: Tensor, label: Tensor, treatment: Tensor, weight: Tensor) -> Tensor:
        """The metric of all rows, each argument [n] float64."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        """The value, a scalar; NaN with a prediction that is NaN or a treatment that is neither 0 nor 1."""
        rows = gather(torch.cat([torch.zeros(0, 4, dtype=torch.float64, device=self.device), *self.rows]))
        score, label, treatment, weight = rows.unbind(1)
        value = self.value(score, label, treatment, weight)
        wrong = score.isnan() | ((treatment != 0) & (treatment != 1))
        return torch.where(wrong.any(), torch.nan, value)
