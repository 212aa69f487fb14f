"""Cross-entropy of the observed arm."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, MtlError, Output, Target, Task
from mtl_lightning.losses.rows import entropies, known_rows


class UpliftLoss(Loss):
    """Binary cross-entropy of the arm that a row was in: of P(y | t = 1) with the treatment, of P(y | t = 0) without.

    Source: Shalit, Johansson, Sontag, "Estimating Individual Treatment Effect: Generalization Bounds and Algorithms",
    ICML 2017, equation 3 without the weights w and the penalty. Arms of different sizes count by their rows.

    Args:
        task: A task of kind ``uplift``.

    Shapes: logit [B, 2], ``extra["treatment"]`` [B, 1], label [B, 1] → scalar.

    Raises:
        MtlError: If the rows have no treatment column.

    Example:
        >>> loss = UpliftLoss(Task(name="sale", kind="uplift", label="sale"))
        >>> output = Output(torch.tensor([[0.0, 9.0]]), extra={"treatment": torch.zeros(1, 1)})
        >>> round(loss(output, Target(label=torch.ones(1, 1), mask=torch.tensor([True])), {}).item(), 4)
        0.6931
    """

    kinds = frozenset({"uplift"})
    heads: ClassVar[frozenset[str] | None] = frozenset({"s_learner", "t_learner", "tarnet"})

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task.name

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean over known labels; a row whose treatment is missing adds nothing."""
        if "treatment" not in output.extra:
            reason = f"heads.{self.task}.treatment: the rows have no such column"
            raise MtlError(reason, "name a column of the source that is 0 or 1")
        treatment = output.extra["treatment"]
        known = replace(target, mask=target.mask & ~treatment[:, 0].isnan())
        logit, treatment = known_rows(output.logit, known), known_rows(treatment, known)
        return known.mean(self.row_losses(logit, treatment, known.label.to(logit.dtype), output, known))

    def row_losses(self, logit: Tensor, treatment: Tensor, label: Tensor, output: Output, known: Target) -> Tensor:
        """Loss of each row, [B].

        Args:
            logit: Log-odds without and with the treatment, [B, 2].
            treatment: 0 or 1, [B, 1].
            label: [B, 1].
            output: The head's output, for further terms.
            known: The target whose mask is true where label and treatment are known.
        """
        return entropies(observed(logit, treatment), label)[:, 0]


def observed(arms: Tensor, treatment: Tensor) -> Tensor:
    """Column of the arm that each row was in, [B, 1].

    Example:
        >>> observed(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0], [0.0]])).tolist()
        [[2.0], [3.0]]
    """
    control, treated = arms.split(1, dim=1)
    return torch.where(treatment > 0.5, treated, control)
