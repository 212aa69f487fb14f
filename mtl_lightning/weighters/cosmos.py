"""COSMOS: one model for all trade-offs between tasks (Ruchte and Grabocka 2021)."""

import torch
from torch import Tensor

from mtl_lightning.bounds import NonNegativeFloat, PositiveFloat
from mtl_lightning.training.late import send
from mtl_lightning.weighters.bases.preference import PreferenceWeighter


class COSMOS(PreferenceWeighter):
    """Preferences r that the model reads, drawn at each step: ``Σ r_t L_t − penalty · cos(r, L)``.

    The model reads r by a feature of kind ``preference``, so that a request chooses the trade-off. L are the global
    losses: the weights are the derivatives of this objective, and a weight can be negative. A task without a label in
    the batch is left out of the cosine.

    Args:
        tasks: Names of the tasks.
        alpha: Parameter α of the Dirichlet distribution of r. At 1 all preferences are equally likely; below 1 most of
            them prefer one task, above 1 they are near the even one.
        penalty: Factor λ of the cosine, which draws the losses towards the direction of r; in the paper 0.01 to 8.

    Source:
        Ruchte, Grabocka, "Scalable Pareto Front Approximation for Deep Multi-Objective Learning", ICDM 2021,
        algorithm 1.

    Example:
        >>> weighter = COSMOS(("a", "b"), penalty=2.0)
        >>> weighter.drawn = torch.tensor([0.5, 0.5], dtype=torch.float64)
        >>> [round(x, 3) for x in weighter.weights(torch.tensor([1.0, 3.0]).double()).tolist()]
        [0.232, 0.589]
    """

    def __init__(self, tasks: tuple[str, ...], *, alpha: PositiveFloat = 1.0, penalty: NonNegativeFloat = 1.0) -> None:
        super().__init__(tasks, alpha=alpha)
        self.penalty = penalty

    def weights(self, values: Tensor) -> Tensor:
        """Derivatives of the objective by the losses, [T]."""
        preference = send(self.drawn, values.device)
        seen = preference * (values != 0)
        size = values.norm().clamp_min(torch.finfo(values.dtype).tiny)
        direction = seen / seen.norm().clamp_min(torch.finfo(values.dtype).tiny)
        unit = values / size
        slope: Tensor = (direction - (direction @ unit) * unit) / size
        return preference - self.penalty * slope
