"""Rows, labels and probabilities that the losses over the entire space read from a parent and its child."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mtl_lightning.batch import Output, Target
from mtl_lightning.losses.rows import entropies, known_rows


@dataclass(slots=True)
class EntireSpace:
    """One parent-and-child pair of a funnel on the rows where the parent's label is known.

    Args:
        parent: The parent's target. Where the child's label is known and has weights of its own, a row has the child's
            weight.
        known: True where the joint event is known, [B].
        happened: 1 where the parent's event happened and the child's label is known, [B].
        label: The child's label there, otherwise 0, [B].
        propensity: The parent's predicted probability, without gradient, [B].
        conditional: Log-odds of the child's event given the parent's, [B].
        joint: Cross-entropy of the joint event, [B], zero where it is unknown.
    """

    parent: Target
    known: Tensor
    happened: Tensor
    label: Tensor
    propensity: Tensor
    conditional: Tensor
    joint: Tensor


def entire_space(output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> EntireSpace:
    """Read the outputs of a cascade head and its parent, for joint or conditional labels.

    The joint event is known where both labels are known, and where the parent's event is known not to have happened.
    """
    ((parent_output, parent),) = parents.values()
    clicked = (parent.label[:, 0] > 0.5) & parent.mask
    known = parent.mask & (target.mask | ~clicked)
    rows = Target(label=target.label, mask=known)
    label = torch.where(clicked & target.mask, target.label[:, 0], 0.0).to(output.logit.dtype)
    logit = known_rows(output.logit, rows)[:, 0]
    joint = entropies(logit, label)
    return EntireSpace(
        parent=weighted(parent, target),
        known=known,
        happened=(clicked & target.mask).to(logit.dtype),
        label=label,
        propensity=known_rows(parent_output.logit.detach(), rows)[:, 0].sigmoid(),
        conditional=known_rows(output.extra["conditional"], rows)[:, 0],
        joint=torch.where(known, joint, 0.0),
    )


def weighted(parent: Target, target: Target) -> Target:
    """The parent's target with the child's sample weights where its label is known; the parent's count divides it."""
    if target.weight is None:
        return parent
    own = torch.ones_like(target.weight) if parent.weight is None else parent.weight
    count = (parent.mask * own).sum() if parent.count is None else parent.count
    return replace(parent, weight=torch.where(target.mask, target.weight, own), count=count)
