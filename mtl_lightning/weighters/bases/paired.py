"""The base of weighters that compare the gradients of two independent batches."""

import torch
from torch import Tensor

from mtl_lightning.interfaces import Step
from mtl_lightning.weighters.bases.offset import OffsetWeighter


class PairedWeighter(OffsetWeighter):
    """Weights from inner products between the gradients of this batch and of an earlier one.

    In the Gramian of one batch, the noise of the batch adds its covariance to the diagonal. Between two independent
    batches it has mean zero. Papers draw two or three batches for a step. Here the other batch is the previous one, its
    gradient one update old, so that nothing is computed twice. Products are divided by the mean of ``|g_t| |g_t'|``, so
    that step sizes do not depend on the scale of the losses.

    A task without a gradient in this batch is represented by its last gradient, and the first batch is compared with
    itself. A task that has had no gradient yet takes no part.

    Args:
        tasks: Names of the tasks.
        every: Steps between computations of the weights. The earlier batch is ``every`` updates old.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.
    """

    skips_absent = True

    def inner_products(self, step: Step) -> Tensor:
        """Products of this batch's gradients (rows) with the earlier batch's (columns); not symmetric."""
        gradient = self.gradient(step)
        now = torch.where(gradient.abs().amax(1, keepdim=True) > 0, gradient, self.track)
        earlier = torch.where(self.track.abs().amax(1, keepdim=True) > 0, self.track, now)
        sizes = now.norm(dim=1) * earlier.norm(dim=1)
        scale = sizes.sum() / (sizes > 0).sum().clamp_min(1)
        self.track.copy_(now)
        return now @ earlier.T / torch.where(scale > 0, scale, 1.0)
