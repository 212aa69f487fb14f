"""The effect of a treatment from two towers."""

from collections.abc import Mapping
from typing import Unpack

from torch import Tensor
from typing_extensions import override

from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.heads.uplift import UpliftHead, UpliftOptions, both
from mtl_lightning.interfaces import Head, Task


class TLearnerHead(UpliftHead):
    """One tower per arm: the first learns from rows without the treatment, the second from rows with it.

    The towers share the representation alone, so that this is TARNet without layers of its own. Architectures decide
    what other tasks share.

    Source: Künzel et al., "Metalearners for Estimating Heterogeneous Treatment Effects Using Machine Learning", PNAS
    116, 2019, section "T-learner".

    Args:
        task: A task of kind ``uplift``.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.uplift.UpliftHead`.

    Shapes: as :class:`~mtl_lightning.heads.uplift.UpliftHead`.

    Example:
        >>> import torch
        >>> head = TLearnerHead(Task(name="sale", kind="uplift", label="sale"), 8, {}, treatment="coupon")
        >>> output = head(torch.zeros(2, 8), {}, {"coupon": torch.tensor([1.0, 0.0])})
        >>> output.logit.shape, output.extra["treatment"].tolist()
        (torch.Size([2, 2]), [[1.0], [0.0]])
    """

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[UpliftOptions]) -> None:
        super().__init__(task, width, parents, **options)
        self.treated = self.make_tower(1, start=rate_logit(task.mean))

    @override
    def arms(self, h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return both(self.tower(h)[0], self.treated(h)[0]), {}
