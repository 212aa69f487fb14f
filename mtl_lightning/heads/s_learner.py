"""The effect of a treatment from one tower that knows the treatment."""

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.heads.uplift import UpliftHead, UpliftOptions, both
from mtl_lightning.interfaces import Head, Task


class SLearnerHead(UpliftHead):
    """One tower that reads the representation and the treatment: the effect is what changing the treatment changes.

    Both arms share all weights. Effects are therefore drawn towards zero, and need a hidden layer to differ between
    rows in log-odds.

    Source: Künzel et al., "Metalearners for Estimating Heterogeneous Treatment Effects Using Machine Learning", PNAS
    116, 2019, section "S-learner".

    Args:
        task: A task of kind ``uplift``.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.uplift.UpliftHead`.

    Shapes: as :class:`~mtl_lightning.heads.uplift.UpliftHead`.

    Example:
        >>> head = SLearnerHead(Task(name="sale", kind="uplift", label="sale"), 8, {})
        >>> head.predict(head(torch.zeros(2, 8), {}, {}), {}).shape
        torch.Size([2])
    """

    treatments: Tensor

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[UpliftOptions]) -> None:
        super().__init__(task, width + 1, parents, **options)
        # A buffer: torch.export once refused constants made in forward, as fake tensors. Alone, it accepts them.
        self.register_buffer("treatments", torch.tensor([0.0, 1.0]), persistent=False)

    @override
    def arms(self, h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        zeros = h[:, :1] * 0  # with the number of rows that torch.export leaves open
        arms = [self.tower(torch.cat([h, zeros + value], dim=1))[0] for value in self.treatments]
        return both(*arms), {}
