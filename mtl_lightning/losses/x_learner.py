"""Losses of outcomes, imputed effects and propensity."""

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from mtl_lightning.interfaces import Output, PositiveFloat, Target, Task
from mtl_lightning.losses.rows import entropies, known_rows
from mtl_lightning.losses.uplift import UpliftLoss, observed


class XLearnerLoss(UpliftLoss):
    """Cross-entropy of the observed arm and of the treatment, and the squared error of the row's imputed effect.

    The imputed effect y − P(y | t = 0) of a row with the treatment is learned by the second effect tower, and
    P(y | t = 1) − y of a row without it by the first. No gradient passes through an imputed effect.

    Source: Künzel et al., "Metalearners for Estimating Heterogeneous Treatment Effects Using Machine Learning", PNAS
    116, 2019, equations 8 and 9.

    Args:
        task: A task with the head ``x_learner``.
        effects: Factor of the squared error.

    Shapes: logit [B, 2], ``extra``: treatment and propensity [B, 1], effects [B, 2]; label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = XLearnerLoss(Task(name="sale", kind="uplift", label="sale"))
        >>> extra = {"treatment": torch.ones(1, 1), "propensity": torch.zeros(1, 1), "effects": torch.zeros(1, 2)}
        >>> target = Target(label=torch.ones(1, 1), mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 2), extra=extra), target, {}).item(), 4)  # 2 log 2 + ½²
        1.6363
    """

    heads: ClassVar[frozenset[str] | None] = frozenset({"x_learner"})

    def __init__(self, task: Task, *, effects: PositiveFloat = 1.0) -> None:
        super().__init__(task)
        self.effects = effects

    @override
    def row_losses(self, logit: Tensor, treatment: Tensor, label: Tensor, output: Output, known: Target) -> Tensor:
        factual = super().row_losses(logit, treatment, label, output, known)
        other = logit.detach().sigmoid().flip(1)  # the probability of the arm that was not observed
        imputed = (2 * treatment - 1) * (label - observed(other, treatment))
        effect = observed(known_rows(output.extra["effects"], known), treatment)
        propensity = entropies(known_rows(output.extra["propensity"], known), treatment)
        return factual + (self.effects * (effect - imputed).square() + propensity)[:, 0]
