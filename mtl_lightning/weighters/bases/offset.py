"""The base of weighters that track gradients over steps."""

from typing import Any, Unpack

import torch
from torch import Tensor

from mtl_lightning.interfaces import Step
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter


class OffsetWeighter(GramianWeighter):
    """Weights from the gradients by an offset of z, tracked over steps.

    A gradient at z has a row per example, so gradients of different steps cannot be averaged. An offset added to every
    row of z is a parameter like a bias. Its gradient is the sum over rows, [T, D], and has the same meaning at each
    step. With ``gradients_at: parameters`` the gradient of the parameters themselves is tracked, as in the papers.

    Args:
        tasks: Names of the tasks.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.
    """

    track: Tensor
    """Tracked values per task and coordinate, [T, D]; [T, 0] until the first step, when D becomes known."""

    def __init__(self, tasks: tuple[str, ...], **options: Unpack[GramianOptions]) -> None:
        super().__init__(tasks, **options)
        self.register_buffer("track", torch.zeros(len(self.tasks), 0, dtype=torch.float64))

    def gradient(self, step: Step) -> Tensor:
        """Gradients of the global losses by an offset of z, [T, D] float64, equal on all processes."""
        rows = step.jacobian.sum(1, dtype=torch.float64)
        if not self.track.numel():
            self.track = torch.zeros_like(rows)
        total = step.reduce(torch.cat([rows.flatten(), rows.new_ones(1)]))
        return (total[:-1] / total[-1]).view_as(rows)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if prefix + "track" in state_dict:
            self.track = self.track.new_zeros(state_dict[prefix + "track"].shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
