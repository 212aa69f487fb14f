"""The base of weighters that train one model for all preferences of the tasks."""

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.bounds import PositiveFloat
from mtl_lightning.interfaces import Step
from mtl_lightning.weighters.bases.loss_based import LossWeighter


class PreferenceWeighter(LossWeighter):
    """Weighter that draws preferences r of the tasks at each step, which the model reads by a feature.

    Args:
        tasks: Names of the tasks.
        alpha: Parameter α of the Dirichlet distribution of r. At 1 all preferences are equally likely; below 1 most of
            them prefer one task, above 1 they are near the even one.

    Example:
        >>> class Linear(PreferenceWeighter):
        ...     def weights(self, values):
        ...         return self.drawn
        >>> Linear(("a", "b")).weights(torch.tensor([1.0, 3.0])).tolist()
        [0.5, 0.5]
    """

    chooses_preferences = True

    def __init__(self, tasks: tuple[str, ...], *, alpha: PositiveFloat = 1.0) -> None:
        super().__init__(tasks)
        self.alpha = alpha
        self.drawn = torch.full((len(self.tasks),), 1 / len(self.tasks), dtype=torch.float64)
        """The preferences of the step, [T] float64 on the host."""

    @override
    def choose_preference(self, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (1,), generator=generator))  # torch's own Dirichlet takes no generator
        return torch.from_numpy(np.random.default_rng(seed).dirichlet([self.alpha] * len(self.tasks)))

    def begin(self, step: Step) -> None:
        """Draw r, [T], as the model read it."""
        self.drawn = self.choose_preference(step.generator)
