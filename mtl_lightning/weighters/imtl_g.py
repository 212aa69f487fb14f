"""Impartial gradients (Liu et al. 2021)."""

import torch
from torch import Tensor

from mtl_lightning.weighters.bases.gramian import GramianWeighter


class IMTLG(GramianWeighter):
    """Weights under which the combined gradient has the same projection onto every task's gradient.

    ``w ∝ G⁺ d`` with the norms ``d_t = |g_t|``, scaled to sum to one. Weights can be negative. With dependent gradients
    the pseudo-inverse gives the solution of least norm. Where the sum vanishes, the update is zero.

    Args:
        tasks: Names of the tasks.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, equation 4, in the closed form of Quinton,
        Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, which admits dependent gradients.

    Example:
        >>> weights = IMTLG(("a", "b")).weights(torch.diag(torch.tensor([1.0, 16.0])).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.8, 0.2]
    """

    skips_absent = True

    def weights(self, gramian: Tensor) -> Tensor:
        """The weights, which sum to one."""
        scaled = gramian / gramian.diagonal().mean()
        solution = torch.linalg.pinv(scaled, rtol=1e-12, hermitian=True) @ scaled.diagonal().sqrt()
        total = solution.sum()
        return solution / total if float(total.abs()) > 1e-12 else torch.zeros_like(solution)
