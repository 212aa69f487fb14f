"""Scalarizations of TorchJD with preferences that the model reads, drawn at each step."""

from typing import Any

import torch
from torch import Tensor
from torchjd import scalarization

from mtl_lightning.interfaces import NonNegativeFloat, PositiveFloat, PreferenceWeighter
from mtl_lightning_torchjd.adapter import construct


def slopes(scalarizer: Any, values: Tensor) -> Tensor:
    """Derivatives of a scalarization by the losses, [T]."""
    losses = values.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(scalarizer(losses), losses)
    return gradient


class COSMOS(PreferenceWeighter):
    """COSMOS: losses weighted by the preference, and a penalty on their cosine with it.

    Args:
        tasks: Names of the tasks.
        alpha: Parameter of the Dirichlet distribution of the preferences.
        penalty: Factor of the cosine.

    Source:
        Ruchte, Grabocka, ICDM 2021; ``torchjd.scalarization.COSMOS``. Tasks without labels stay in the cosine.

    Example:
        >>> weighter = COSMOS(("a", "b"), penalty=2.0)
        >>> [round(x, 3) for x in weighter.weights(torch.tensor([1.0, 3.0]).double()).tolist()]
        [0.232, 0.589]
    """

    def __init__(self, tasks: tuple[str, ...], *, alpha: PositiveFloat = 1.0, penalty: NonNegativeFloat = 1.0) -> None:
        super().__init__(tasks, alpha=alpha)
        self.penalty = penalty

    def weights(self, values: Tensor) -> Tensor:
        """Derivatives of TorchJD's scalarization, [T]."""
        scalarizer = construct(scalarization.COSMOS, self.penalty, self.drawn.to(values.device))
        return slopes(scalarizer, values)


class PBI(PreferenceWeighter):
    """PBI: distance of the losses along the preference, and a penalty on their distance from it.

    Args:
        tasks: Names of the tasks.
        alpha: Parameter of the Dirichlet distribution of the preferences.
        theta: Factor of the distance from the preference.

    Source:
        Zhang, Li, "MOEA/D", IEEE TEVC 2007; ``torchjd.scalarization.PBI`` with the reference point 0.

    Example:
        >>> weighter = PBI(("a", "b"), theta=0.5)
        >>> [round(x, 3) for x in weighter.weights(torch.tensor([1.0, 3.0]).double()).tolist()]
        [0.354, 1.061]
    """

    def __init__(self, tasks: tuple[str, ...], *, alpha: PositiveFloat = 1.0, theta: NonNegativeFloat = 5.0) -> None:
        super().__init__(tasks, alpha=alpha)
        self.theta = theta

    def weights(self, values: Tensor) -> Tensor:
        """Derivatives of TorchJD's scalarization, [T]."""
        return slopes(construct(scalarization.PBI, self.theta, self.drawn.to(values.device)), values)
