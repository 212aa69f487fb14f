"""Moving averages of weights over steps."""

from typing import Any

import torch
from torch import Tensor

from mtl_lightning.bounds import Share
from mtl_lightning.interfaces import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning_torchjd.adapter import TorchJDWeighter


class CRMOGM(TorchJDWeighter):
    """CR-MOGM: moving average of another weighter's weights over steps.

    A task without labels in the batch is left out of the step: its average does not change.

    Args:
        tasks: Names of the tasks.
        weighting: Name of a weighter of this plugin without state; it has its default options.
        alpha: Decay of the average; 0 gives the other weighter's weights.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Raises:
        MtlError: If ``weighting`` is not a weighter of this plugin without state.

    Source:
        Zhou et al., "On the Convergence of Stochastic Multi-Objective Gradient Manipulation and Beyond", NeurIPS 2022,
        algorithm 1; the same numbers as ``torchjd.aggregation.CRMOGMWeighting``.

    Example:
        >>> import torch
        >>> weights = CRMOGM(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.75, 0.625]
    """

    skips_absent = False
    average: Tensor
    started: Tensor

    def __init__(
        self, tasks: tuple[str, ...], *, weighting: str = "torchjd_upgrad", alpha: Share = 0.9, **options: Any
    ) -> None:
        other = _stateless(weighting, tasks)
        super().__init__(tasks, other.weighting, **options)
        self.alpha = alpha
        self._other = (other,)  # not a submodule: it has no state for a checkpoint
        self.register_buffer("average", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("started", torch.zeros(len(self.tasks), dtype=torch.bool))

    def call(self, gramian: Tensor) -> Tensor:
        """Update and return the averages, [T, T] → [T]; a task that never had a gradient gets the others' mean."""
        (other,) = self._other
        here = gramian.diagonal() != 0
        known = gramian[here][:, here]
        current = other.call(known / known.diagonal().mean()).double()
        average, started = self.average.cpu(), self.started.cpu()
        before = torch.where(started[here], average[here], current)
        average[here], started[here] = self.alpha * before + (1 - self.alpha) * current, True
        self.average.copy_(average)
        self.started.copy_(started)
        return torch.where(started, average, average[here].mean())


STATEFUL = ("mtl_lightning_torchjd.smoothing", "mtl_lightning_torchjd.stateful")
"""Modules of the weighters with state."""


def _stateless(name: str, tasks: tuple[str, ...]) -> TorchJDWeighter:
    kind = registry().resolve("weighter", name)
    if not issubclass(kind, TorchJDWeighter) or kind.__module__ in STATEFUL:
        raise MtlError(f"weighter.weighting: {name!r} is not a weighter of TorchJD without state")
    weighter: TorchJDWeighter = kind(tasks)  # type: ignore[call-arg]
    return weighter
