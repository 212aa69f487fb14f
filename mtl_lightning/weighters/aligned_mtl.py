"""Independent component alignment (Senushkin et al. 2023)."""

from typing import Literal, Unpack

import torch
from torch import Tensor

from mtl_lightning.bounds import NonNegativeFloat
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter


class AlignedMTL(GramianWeighter):
    """The mean of the gradients after the nearest transformation that makes them orthogonal and equal in length.

    With ``G = V diag(λ) Vᵀ`` the balance transformation is ``B = √λ_r V diag(λ^−½) Vᵀ`` over the r eigenvalues that are
    not zero, and the weights are ``B 1/T``. The condition number of the combined system becomes one.

    Args:
        tasks: Names of the tasks.
        scale: Eigenvalue that sets the common length: the smallest (``min``, as in the paper), the median or the mean
            (``rmse``).
        tolerance: Eigenvalues below this fraction of the largest one count as zero.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023, theorem 2, algorithm 1.

    Example:
        >>> weights = AlignedMTL(("a", "b")).weights(torch.diag(torch.tensor([1.0, 16.0])).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.5, 0.125]
    """

    skips_absent = True

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        scale: Literal["min", "median", "rmse"] = "min",
        tolerance: NonNegativeFloat = 1e-9,
        **options: Unpack[GramianOptions],
    ) -> None:
        super().__init__(tasks, **options)
        self.scale = scale
        self.tolerance = tolerance

    def weights(self, gramian: Tensor) -> Tensor:
        """The mean of the rows of the balance transformation."""
        values, vectors = torch.linalg.eigh(gramian)
        positive = values > self.tolerance * values[-1]
        values, vectors = values[positive], vectors[:, positive]
        length = {"min": values.min(), "median": values.median(), "rmse": values.mean()}[self.scale]
        weights: Tensor = (length.sqrt() * vectors / values.sqrt()) @ vectors.mean(0)
        return weights
