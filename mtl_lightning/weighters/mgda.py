"""The multiple-gradient descent algorithm (Désidéri 2012; Sener, Koltun 2018)."""

from typing import Unpack

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.bounds import NonNegativeFloat
from mtl_lightning.weighters.bases.enumeration import MOST_TASKS, minimize_on_simplex, scaled
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter
from mtl_lightning.weighters.bases.quadratic import minimize, normalized


class MGDA(GramianWeighter):
    """The smallest convex combination of the gradients: ``min |Σ w_t g_t|²`` over ``w ≥ 0, Σ w = 1``.

    To first order no task gets worse, and the combination is zero where no direction helps all tasks. Tasks with small
    gradients get large weights. The programme is solved exactly. At the seam this is the paper's upper bound MGDA-UB.

    Args:
        tasks: Names of the tasks.
        eps: Ridge on the Gramian of trace 1, which makes the weights of parallel gradients unique.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", 2012; Sener, Koltun,
        "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, equation 3 and section 3.3.

    Example:
        >>> weights = MGDA(("a", "b")).weights(torch.diag(torch.tensor([1.0, 3.0])).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.75, 0.25]
    """

    skips_absent = True
    most_on_device = MOST_TASKS

    def __init__(
        self, tasks: tuple[str, ...], *, eps: NonNegativeFloat = 1e-8, **options: Unpack[GramianOptions]
    ) -> None:
        super().__init__(tasks, **options)
        self.eps = eps

    def weights(self, gramian: Tensor) -> Tensor:
        """The weights, which sum to one."""
        count = len(gramian)
        start = torch.full((count,), 1 / count, dtype=gramian.dtype)
        return minimize(normalized(gramian, self.eps), torch.zeros_like(start), total=1.0, start=start)

    @override
    def weights_of_present(self, gramian: Tensor, present: Tensor) -> Tensor:
        return minimize_on_simplex(scaled(gramian, self.eps), torch.zeros_like(gramian[0]), present)
