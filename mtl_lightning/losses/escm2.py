"""Entire-space loss with a counterfactual regulariser: IPW or doubly robust."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, NonNegativeFloat, Output, Share, Target, Task
from mtl_lightning.losses.entire_space import entire_space
from mtl_lightning.losses.rows import entropies, known_rows


class ESCM2Loss(Loss):
    """ESMM's cross-entropy of the joint event plus a debiased loss of the conditional one, over all impressions.

    O is 1 where the parent's event happened, p̂ is its predicted probability (clipped from below, without gradient), and
    ℓ is the conditional's cross-entropy with the label.

    - ``ipw``: joint + w · mean(O/p̂ · ℓ).
    - ``dr``: joint + w · mean(ê + O/p̂ (ℓ − ê) + O/p̂ (ê − ℓ)²), where ê is the conditional's cross-entropy with the
      label that the imputation tower predicts. The square trains the imputation tower only, the terms before it the
      conditional only.

    The mean is over rows where the parent's label is known. A row with the parent's event but an unknown label of its
    own counts as zero. A row has the child's weight where its label is known, otherwise the parent's.

    Source: Wang et al., "ESCM²: Entire Space Counterfactual Multi-Task Model", SIGIR 2022; imputed labels as in Wang
    et al., "Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random", ICML 2019.

    Args:
        task: A task with the head ``escm2``.
        method: ``ipw`` or ``dr``.
        weight: Factor w of the debiased loss.
        clip: Lower bound of p̂ in divisions.

    Shapes: ``extra``: conditional and imputation [B, 1] → scalar.

    Example:
        >>> import torch
        >>> task = Task(name="sale", kind="binary", label="sale", parents=("click",))
        >>> loss = ESCM2Loss(task, method="ipw", weight=1.0)
        >>> known = torch.tensor([True])
        >>> zero, one = torch.zeros(1, 1), torch.ones(1, 1)
        >>> click = (Output(zero), Target(label=one, mask=known))
        >>> output = Output(zero, extra={"conditional": zero, "imputation": zero})
        >>> round(loss(output, Target(label=one, mask=known), {"click": click}).item(), 4)  # log 2 + log 2 / ½
        2.0794
    """

    kinds = frozenset({"binary"})
    heads = frozenset({"escm2"})

    def __init__(
        self, task: Task, *, method: Literal["ipw", "dr"] = "ipw", weight: NonNegativeFloat = 0.5, clip: Share = 0.1
    ) -> None:
        super().__init__()
        self.method, self.weight, self.clip = method, weight, clip

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over rows where the parent's label is known."""
        space = entire_space(output, target, parents)
        inverse = space.happened / space.propensity.clamp(min=self.clip)
        error = entropies(space.conditional, space.label)
        imputation = known_rows(output.extra["imputation"], space.parent)[:, 0].sigmoid()
        if self.method == "ipw":
            # Zero times the imputation, so that its tower takes part in every step.
            debiased = inverse * error + 0 * imputation
        else:
            imputed = entropies(space.conditional, imputation.detach())
            fitted = entropies(space.conditional.detach(), imputation)
            debiased = imputed + inverse * (error - imputed) + inverse * (fitted - error.detach()).square()
        return space.parent.mean(space.joint + self.weight * torch.where(space.known, debiased, 0.0))
