"""The effect of a treatment from two towers over shared layers."""

from collections.abc import Mapping
from typing import Unpack

from torch import Tensor
from typing_extensions import override

from mtl_lightning.heads.t_learner import TLearnerHead
from mtl_lightning.heads.uplift import UpliftOptions
from mtl_lightning.interfaces import Head, Sizes, Task
from mtl_lightning.layers import MLP


class TARNetHead(TLearnerHead):
    """Shared layers Φ, and one tower per arm over them.

    The shared layers learn from all rows, the towers from their arm's. Without the paper's penalty on the distance of
    the arms' representations, this is its TARNet; a random treatment needs no such penalty.

    Source: Shalit, Johansson, Sontag, "Estimating Individual Treatment Effect: Generalization Bounds and Algorithms",
    ICML 2017, section 4.

    Args:
        task: A task of kind ``uplift``.
        width: Width H of the representation.
        parents: Ignored.
        representation: Sizes of the shared layers; empty for the T-learner.
        options: Options of :class:`~mtl_lightning.heads.uplift.UpliftHead`.

    Shapes: as :class:`~mtl_lightning.heads.uplift.UpliftHead`.

    Example:
        >>> import torch
        >>> head = TARNetHead(Task(name="sale", kind="uplift", label="sale"), 8, {}, representation=[16])
        >>> head(torch.zeros(2, 8), {}, {}).logit.shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        representation: Sizes = (32,),
        **options: Unpack[UpliftOptions],
    ) -> None:
        super().__init__(task, representation[-1] if representation else width, parents, **options)
        activation, dropout = options.get("activation", "relu"), options.get("dropout", 0.0)
        self.representation = MLP(width, representation, activation=activation, dropout=dropout)

    @override
    def arms(self, h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return super().arms(self.representation(h))
