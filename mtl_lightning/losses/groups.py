"""Rows of a batch by group, for losses that compare rows of one user."""

import torch
from torch import Tensor

from mtl_lightning.batch import Target
from mtl_lightning.errors import MtlError


def known_groups(loss: str, target: Target) -> Tensor:
    """Group number of each row, [B]; rows without a known label get groups of their own.

    Args:
        loss: Name of the asking loss, for the message.
        target: The task's target.

    Raises:
        MtlError: If the data have no group column.

    Example:
        >>> target = Target(label=torch.ones(3, 1), mask=torch.tensor([True, True, False]),
        ...                 group=torch.tensor([7, 7, 7]))
        >>> known_groups("pairwise", target).tolist()
        [0, 0, 5]
    """
    if target.group is None:
        raise MtlError(f"losses: {loss} compares rows of one group, and the data have none", "set data.group")
    _, number = torch.unique(target.group, return_inverse=True)
    rows = torch.arange(len(number), device=number.device)
    return torch.where(target.mask, number, len(number) + rows)
