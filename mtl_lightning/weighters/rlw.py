"""Random loss weighting (Lin et al. 2022)."""

import torch
from torch import Tensor

from mtl_lightning.interfaces import Step
from mtl_lightning.training.late import send
from mtl_lightning.weighters.bases.loss_based import LossWeighter


class RLW(LossWeighter):
    """Random weights, drawn at each step: ``T · softmax(n)`` with standard normal n, equal on all processes.

    A baseline for other methods: the mean weight of each task is 1.

    Args:
        tasks: Names of the tasks.

    Source:
        Lin, Ye, Zhang, Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning",
        TMLR 2022, equation 2, times T.

    Example:
        >>> weighter = RLW(("a", "b"))
        >>> weighter.drawn = torch.tensor([0.0, 0.0])
        >>> weighter.weights(torch.tensor([2.0, 5.0])).tolist()
        [1.0, 1.0]
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__(tasks)
        self.drawn = torch.zeros(len(self.tasks), dtype=torch.float64)

    def begin(self, step: Step) -> None:
        """Draw n, [T]."""
        self.drawn = torch.randn(len(self.tasks), generator=step.generator, dtype=torch.float64)

    def weights(self, values: Tensor) -> Tensor:
        """The weights of this step, which sum to T."""
        return send(len(self.drawn) * self.drawn.softmax(0), values.device)
