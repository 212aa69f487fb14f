"""Weights averaged over steps."""

from typing import Any

import torch
from torch import Tensor
from torchjd import aggregation

from mtl_lightning.interfaces import MtlError
from mtl_lightning.plugins import registry
from mtl_lightning_torchjd.adapter import TorchJDWeighter, construct


class CRMOGM(TorchJDWeighter):
    """The weights of another of these weighters, averaged over steps.

    Args:
        tasks: Names of the tasks.
        weighting: Name of a weighter of this plugin that has no state, with its defaults.
        alpha: Decay of the average.
        options: Options of every :class:`~mtl_lightning.weighters.gramian.GramianWeighter`.

    Source:
        Zhou et al., NeurIPS 2022; ``torchjd.aggregation.CRMOGMWeighting``.

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
        self, tasks: tuple[str, ...], *, weighting: str = "torchjd_upgrad", alpha: float = 0.9, **options: Any
    ) -> None:
        super().__init__(
            tasks, construct(aggregation.CRMOGMWeighting, _stateless(weighting, tasks), alpha=alpha), **options
        )
        self.register_buffer("average", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def call(self, gramian: Tensor) -> Tensor:
        """TorchJD's weights, from the average in the buffer."""
        self.weighting._lambda = self.average.to(gramian) if bool(self.started) else None
        weights = super().call(gramian)
        self.average.copy_(weights)
        self.started.fill_(True)
        return weights


STATEFUL = ("mtl_lightning_torchjd.smoothing", "mtl_lightning_torchjd.stateful")


def _stateless(name: str, tasks: tuple[str, ...]) -> object:
    kind = registry().resolve("weighter", name)
    if not issubclass(kind, TorchJDWeighter) or kind.__module__ in STATEFUL:
        raise MtlError(f"weighter.weighting: {name!r} is no weighter of TorchJD without state")
    made: Any = kind
    return made(tasks).weighting
