"""Exponential moving average of dense weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Running average of parameters: a ← d a + (1 − d) w after each step, with d = min(decay, (1 + n) / (10 + n)).

    n counts the updates before. The smaller d of early steps lets the average forget where training started.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim. 30
    (1992); TensorFlow's ``ExponentialMovingAverage`` with ``num_updates`` has the same ramp of d.

    Args:
        parameters: Parameters by name. They keep their storage when values are swapped, so that optimizers and compiled
            graphs remain valid.
        decay: Largest decay, below 1.

    Example:
        >>> weight = nn.Parameter(torch.zeros(1))
        >>> average = WeightAverage({"w": weight}, decay=0.5)
        >>> with torch.no_grad(): _ = weight.fill_(1.0)
        >>> average.update()  # d = 0.1
        >>> average.averages["w"].item(), weight.item()
        (0.8999999761581421, 1.0)
        >>> average.swap()
        >>> weight.item(), average.weights["w"].item()
        (0.8999999761581421, 1.0)
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.updates = 0
        self.swapped = False
        self._stored = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @property
    def _held(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    @property
    def averages(self) -> dict[str, Tensor]:
        """Averaged values by name, without copying."""
        return self._held if self.swapped else self._stored

    @property
    def weights(self) -> dict[str, Tensor]:
        """Values that the optimizer updates, by name, without copying."""
        return self._stored if self.swapped else self._held

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(list(self._stored.values()), list(self._held.values()), self.updates)
        self.updates += 1

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters' values with the average; a second call restores them exactly."""
        for name, parameter in self.parameters.items():
            value = parameter.detach().clone()
            parameter.copy_(self._stored[name])
            self._stored[name].copy_(value)
        self.swapped = not self.swapped

    @torch.no_grad()
    def restore(self, averages: Mapping[str, Tensor], updates: int) -> None:
        """Continue from saved averages.

        Args:
            averages: Saved averages by name; others are ignored.
            updates: Number of updates that they have had.
        """
        for name, value in self._stored.items():
            value.copy_(averages[name])
        self.updates = updates
