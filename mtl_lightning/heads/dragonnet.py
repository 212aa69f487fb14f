"""The effect of a treatment from layers that know the propensity."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.heads.tarnet import TARNetHead
from mtl_lightning.heads.uplift import UpliftOptions
from mtl_lightning.interfaces import Head, Output, Sizes, Task


class DragonNetHead(TARNetHead):
    """TARNet whose shared layers also predict the treatment, with the ε of targeted regularisation.

    The propensity g is linear in the shared layers, which therefore keep what decides the treatment: the confounders.
    ε is one number. The loss :class:`~mtl_lightning.losses.dragonnet.DragonNetLoss` learns it; predictions do not use
    it.

    Source: Shi, Blei, Veitch, "Adapting Neural Networks for the Estimation of Treatment Effects", NeurIPS 2019.

    Args:
        task: A task of kind ``uplift``.
        width: Width H of the representation.
        parents: Ignored.
        representation: Sizes of the shared layers.
        options: Options of :class:`~mtl_lightning.heads.uplift.UpliftHead`.

    Shapes: as :class:`~mtl_lightning.heads.uplift.UpliftHead`; ``extra``: propensity [B, 1], log-odds, and epsilon
    [1]; details also ``propensity`` [B], a probability.

    Example:
        >>> head = DragonNetHead(Task(name="sale", kind="uplift", label="sale"), 8, {})
        >>> sorted(head(torch.zeros(2, 8), {}, {}).extra)
        ['epsilon', 'propensity']
    """

    loss: ClassVar[str] = "dragonnet"

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        representation: Sizes = (32,),
        **options: Unpack[UpliftOptions],
    ) -> None:
        super().__init__(task, width, parents, representation=representation, **options)
        self.propensity = nn.Linear(self.representation.width, 1)
        self.epsilon = nn.Parameter(torch.zeros(1))

    @override
    def arms(self, h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        shared = self.representation(h)
        logit, _ = super(TARNetHead, self).arms(shared)
        return logit, {"propensity": self.propensity(shared), "epsilon": self.epsilon}

    @override
    def details(self, output: Output, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super().details(output, raw) | {"propensity": output.extra["propensity"][:, 0].sigmoid()}
