"""Entire-space loss with factual and counterfactual conversions."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.interfaces import Loss, NonNegativeFloat, Output, Share, Target, Task
from mtl_lightning.losses.entire_space import entire_space
from mtl_lightning.losses.rows import entropies


class DCMTLoss(Loss):
    """Joint cross-entropy plus factual and counterfactual losses of the conditional, tied by a soft constraint.

    The loss is joint + w · mean(O/p̂ · ℓ(y, r) + (1 − O)/(1 − p̂) · ℓ(1 − y, r*) + λ |1 − (r + r*)|). O is 1 where the
    parent's event happened. p̂ is its predicted probability, clipped and without gradient. r is the probability of the
    conditional, r* the probability of the twin, and y = 0 for rows without the parent's event. Rows count and
    weigh as in :class:`~mtl_lightning.losses.escm2.ESCM2Loss`.

    Source: Zhu et al., "DCMT: A Direct Entire-Space Causal Multi-Task Framework for Post-Click Conversion Estimation",
    ICDE 2023.

    Args:
        task: A task with the head ``dcmt``.
        weight: Factor w of the causal terms.
        constraint: Factor λ of the soft constraint.
        clip: Lower bound of the probabilities in divisions.

    Shapes: ``extra``: conditional and counterfactual [B, 1] → scalar.

    Example:
        >>> import torch
        >>> loss = DCMTLoss(Task(name="sale", kind="binary", label="sale", parents=("click",)), weight=1.0)
        >>> known = torch.tensor([True])
        >>> zero, one = torch.zeros(1, 1), torch.ones(1, 1)
        >>> click = (Output(zero), Target(label=one, mask=known))
        >>> output = Output(zero, extra={"conditional": zero, "counterfactual": zero})
        >>> round(loss(output, Target(label=one, mask=known), {"click": click}).item(), 4)  # log 2 + log 2 / ½
        2.0794
    """

    kinds = frozenset({"binary"})
    heads = frozenset({"dcmt"})

    def __init__(
        self, task: Task, *, weight: NonNegativeFloat = 0.1, constraint: NonNegativeFloat = 0.01, clip: Share = 0.01
    ) -> None:
        super().__init__()
        self.weight, self.constraint, self.clip = weight, constraint, clip

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over rows where the parent's label is known."""
        space = entire_space(output, target, parents)
        twin = output.extra["counterfactual"][:, 0].where(space.known, 0.0)
        away = (space.parent.mask & (space.parent.label[:, 0] <= 0.5)).to(twin.dtype)
        factual = entropies(space.conditional, space.label)
        # ℓ(1 − y, r*) with y = 0: the counterfactual label is one.
        counterfactual = functional.softplus(-twin)
        tie = (1 - space.conditional.sigmoid() - twin.sigmoid()).abs()
        causal = (
            space.happened / space.propensity.clamp(min=self.clip) * factual
            + away / (1 - space.propensity).clamp(min=self.clip) * counterfactual
            + self.constraint * tie
        )
        return space.parent.mean(space.joint + self.weight * torch.where(space.known, causal, 0.0))
