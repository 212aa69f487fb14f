"""Dynamic weight average (Liu, Johns, Davison 2019)."""

import torch
from torch import Tensor

from mtl_lightning.bounds import PositiveFloat, PositiveInt
from mtl_lightning.weighters.bases.loss_based import LossWeighter


class DWA(LossWeighter):
    """Weights ``T · softmax(r / τ)`` of the rates ``r_t = L_t(k−1) / L_t(k−2)``: slowly falling losses weigh more.

    The paper averages losses over an epoch. Training on logs of exposures takes few epochs, so L(k) is here the average
    over a window of steps, without the steps in which the task has no label. The weights are 1 until two windows are
    full.

    Args:
        tasks: Names of the tasks.
        window: Steps in a window; the weights are 1 until two windows are full.
        temperature: Temperature τ; larger values give more even weights.

    Source:
        Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equation 7.

    Example:
        >>> weighter = DWA(("a", "b"), window=1, temperature=1.0)
        >>> for values in ([4.0, 1.0], [2.0, 1.0], [1.0, 1.0]):
        ...     weights = weighter.weights(torch.tensor(values).double())
        >>> [round(x, 3) for x in weights.tolist()]  # rates of the first two windows: 0.5 and 1
        [0.755, 1.245]
    """

    total: Tensor
    seen: Tensor
    steps: Tensor
    averages: Tensor

    def __init__(self, tasks: tuple[str, ...], *, window: PositiveInt = 200, temperature: PositiveFloat = 2.0) -> None:
        super().__init__(tasks)
        self.window = window
        self.temperature = temperature
        count = len(self.tasks)
        self.register_buffer("total", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("averages", torch.zeros(2, count, dtype=torch.float64))

    def weights(self, values: Tensor) -> Tensor:
        """Weights from the last two full windows. Adds the values to the current window."""
        older, newer = self.averages.double()
        rate = torch.where((older > 0) & (newer > 0), newer / older.clamp_min(1e-300), 1.0)
        weights = len(values) * (rate / self.temperature).softmax(0)
        self.total += values
        self.seen += values != 0
        self.steps += 1
        ends = self.steps % self.window == 0
        average = torch.where(self.seen > 0, self.total / self.seen.clamp_min(1), newer)
        self.averages.copy_(torch.where(ends, torch.stack([newer, average]), self.averages))
        self.total.masked_fill_(ends, 0)
        self.seen.masked_fill_(ends, 0)
        return weights
