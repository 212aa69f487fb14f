"""Losses of outcomes and propensity, with targeted regularisation."""

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from mtl_lightning.interfaces import NonNegativeFloat, Output, Target, Task
from mtl_lightning.losses.rows import entropies, known_rows
from mtl_lightning.losses.uplift import UpliftLoss, observed


class DragonNetLoss(UpliftLoss):
    """Cross-entropies of the observed arm and of the treatment, and targeted regularisation.

    With the observed arm's probability q, the propensity g and ε of the head, the last term is
    (y − q − ε (t / g − (1 − t) / (1 − g)))². As in the authors' code, g is squeezed to (g + 0.01) / 1.02, so that its
    inverse is at most 102.

    Source: Shi, Blei, Veitch, "Adapting Neural Networks for the Estimation of Treatment Effects", NeurIPS 2019,
    equations 2.2 and 3.2. The paper sums over rows, this is a mean; outcomes have cross-entropy instead of the squared
    error.

    Args:
        task: A task with the head ``dragonnet``.
        propensity: Factor α of the cross-entropy of the treatment.
        targeted: Factor β of targeted regularisation.

    Shapes: logit [B, 2], ``extra``: treatment and propensity [B, 1], epsilon [1]; label [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = DragonNetLoss(Task(name="sale", kind="uplift", label="sale"))
        >>> extra = {"treatment": torch.ones(1, 1), "propensity": torch.zeros(1, 1), "epsilon": torch.zeros(1)}
        >>> target = Target(label=torch.ones(1, 1), mask=torch.tensor([True]))
        >>> round(loss(Output(torch.zeros(1, 2), extra=extra), target, {}).item(), 4)  # 2 log 2 + ½²
        1.6363
    """

    heads: ClassVar[frozenset[str] | None] = frozenset({"dragonnet"})

    def __init__(self, task: Task, *, propensity: NonNegativeFloat = 1.0, targeted: NonNegativeFloat = 1.0) -> None:
        super().__init__(task)
        self.propensity, self.targeted = propensity, targeted

    @override
    def row_losses(self, logit: Tensor, treatment: Tensor, label: Tensor, output: Output, known: Target) -> Tensor:
        factual = super().row_losses(logit, treatment, label, output, known)
        propensity = known_rows(output.extra["propensity"], known)
        squeezed = (propensity.sigmoid() + 0.01) / 1.02
        inverse = treatment / squeezed - (1 - treatment) / (1 - squeezed)
        error = label - observed(logit, treatment).sigmoid() - output.extra["epsilon"] * inverse
        return factual + (self.propensity * entropies(propensity, treatment) + self.targeted * error.square())[:, 0]
