"""Distillation of another model's predictions."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.interfaces import (
    ColumnName,
    Loss,
    MtlError,
    NonNegativeFloat,
    Output,
    PositiveFloat,
    Share,
    Target,
    Task,
)
from mtl_lightning.losses.groups import group_log_softmax, grouped_mean
from mtl_lightning.losses.rows import entropies, known_rows

SMALLEST = 1e-6
"""Smallest probability of a teacher, and of the opposite, that differs from 0."""


class Distilled(Loss):
    """Cross-entropy with the label and with a teacher's probability, at a temperature.

    With log-odds v, label y and the teacher's probability q, a row costs
    (1 − w) H(y, σ(v)) + w T² H(σ(logit(q) / T), σ(v / T)), H being the cross-entropy and w ``soft``. ``ranking`` adds
    the cross-entropy of two distributions over the rows of a group (a user): softmax(logit(q) / T) and softmax(v / T),
    times T². A row without a teacher's prediction costs H(y, σ(v)).

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2, for two classes; Cao
    et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007, for the top-one distributions.

    Args:
        task: A binary or soft_binary task.
        teacher: Raw column with the teacher's probability, from 0 to 1 or missing.
        temperature: Temperature T. Above 1, small probabilities count more.
        soft: Share w of the teacher.
        ranking: Weight of the ranking term; above 0 it needs a group column (``data.group``).

    Shapes: logit [B, 1], label [B, 1], the teacher's column [B] → scalar.

    Raises:
        MtlError: If the rows have no such column, or no groups.

    Example:
        >>> loss = Distilled(Task(name="click", kind="binary", label="click"), soft=1.0)
        >>> target = Target(label=torch.zeros(1, 1), mask=torch.tensor([True]), raw={"teacher": torch.tensor([0.5])})
        >>> round(loss(Output(torch.zeros(1, 1)), target, {}).item(), 4)
        0.6931
    """

    kinds = frozenset({"binary", "soft_binary"})

    def __init__(
        self,
        task: Task,
        *,
        teacher: ColumnName = ColumnName("teacher"),  # noqa: B008
        temperature: PositiveFloat = 1.0,
        soft: Share = 0.5,
        ranking: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        self.task = task.name
        self.probability_columns = (teacher,)
        self.temperature, self.soft, self.ranking = temperature, soft, ranking

    @override
    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        (column,) = self.probability_columns
        if column not in target.raw:
            reason = f"losses.{self.task}.teacher: the rows have no column {column!r}"
            raise MtlError(reason, "join the teacher's predictions to the log")
        logit = known_rows(output.logit, target)
        probability = target.raw[column].unsqueeze(1)
        taught = replace(target, mask=target.mask & ~probability[:, 0].isnan())
        # In float64, since 1 − 1e-6 has few digits in float32.
        teacher = torch.logit(known_rows(probability.double(), taught), SMALLEST).to(logit.dtype) / self.temperature
        share = taught.mask.unsqueeze(1) * self.soft
        soft = self.temperature**2 * entropies(logit / self.temperature, teacher.sigmoid())
        value = target.mean(((1 - share) * entropies(logit, target.label) + share * soft)[:, 0])
        if self.ranking == 0:
            return value
        ranked = grouped_mean("distilled", logit / self.temperature, replace(taught, label=teacher), listwise)
        return value + self.ranking * self.temperature**2 * ranked


def listwise(score: Tensor, teacher: Tensor, group: Tensor) -> Tensor:
    """Each row's part of the cross-entropy between its group's two distributions, [N].

    Example:
        >>> listwise(torch.zeros(2, 1), torch.zeros(2), torch.tensor([0, 0]))  # ½ log 2 each
        tensor([0.3466, 0.3466])
    """
    return -group_log_softmax(teacher, group).exp() * group_log_softmax(score[:, 0], group)
