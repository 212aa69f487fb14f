"""Projection onto the dual cone (Quinton, Rey 2024)."""

from typing import Unpack

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.bounds import NonNegativeFloat
from mtl_lightning.weighters.bases.enumeration import MOST_TASKS, minimize_each, scaled, unit
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter
from mtl_lightning.weighters.bases.quadratic import minimize, normalized


class UPGrad(GramianWeighter):
    """The mean of the gradients' projections onto the cone of directions that conflict with no task.

    The projection of ``g_t`` is ``Σ_s v_s g_s`` with ``v = argmin vᵀGv`` over ``v ≥ e_t``. Unlike the update of MGDA,
    it grows with each task's gradient. Without conflict it is the mean.

    Args:
        tasks: Names of the tasks.
        ridge: Added to the diagonal of the Gramian of trace 1, so that the weights of dependent gradients are unique.
            Conflicts of that order remain: the step may go against a gradient a hundred times shorter than another.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Quinton, Rey, "Jacobian Descent for Multi-Objective Optimization", 2024 (arXiv 2406.16232), equation 3,
        proposition 1.

    Example:
        >>> weights = UPGrad(("a", "b"), ridge=1e-9).weights(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.0, 0.75]
    """

    skips_absent = True
    most_on_device = MOST_TASKS

    def __init__(
        self, tasks: tuple[str, ...], *, ridge: NonNegativeFloat = 1e-4, **options: Unpack[GramianOptions]
    ) -> None:
        super().__init__(tasks, **options)
        self.ridge = ridge

    def weights(self, gramian: Tensor) -> Tensor:
        """The mean of the projections' weights."""
        products = normalized(gramian, self.ridge)
        added = torch.stack([minimize(products, row) for row in products])
        return (torch.eye(len(gramian), dtype=gramian.dtype) + added).mean(0)

    @override
    def weights_of_present(self, gramian: Tensor, present: Tensor) -> Tensor:
        products = scaled(gramian, self.ridge)
        added = minimize_each(products, products, present)  # column i is what task i's weight 1 is increased by
        combined = unit(gramian) + added
        return torch.where(present, combined, 0.0).sum(1) / present.sum()
