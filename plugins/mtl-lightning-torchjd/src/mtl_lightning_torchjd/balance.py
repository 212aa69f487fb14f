"""Weightings that balance the norms and directions of gradients."""

from typing import Any, Literal

import torch
from torch import Tensor
from torchjd import aggregation

from mtl_lightning.bounds import PositiveFloat, PositiveInt
from mtl_lightning_torchjd.adapter import TorchJDWeighter, construct, factor


class AlignedMTL(TorchJDWeighter):
    """Aligned-MTL: the mean of gradients after orthogonalisation to equal norms.

    Args:
        tasks: Names of the tasks.
        scale_mode: Eigenvalue that determines the common norm.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Senushkin et al., CVPR 2023; ``torchjd.aggregation.AlignedMTLWeighting``.

    Example:
        >>> import torch
        >>> weights = AlignedMTL(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.541, 0.4]
    """

    def __init__(
        self, tasks: tuple[str, ...], *, scale_mode: Literal["min", "median", "rmse"] = "min", **options: Any
    ) -> None:
        super().__init__(tasks, construct(aggregation.AlignedMTLWeighting, scale_mode=scale_mode), **options)


class ConFIG(TorchJDWeighter):
    """ConFIG: the direction with equal cosine to all gradients; its norm is the sum of their projections onto it.

    Args:
        tasks: Names of the tasks.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Liu, Chu, Thuerey, ICLR 2025; ``torchjd.aggregation.ConFIG``.

    Example:
        >>> import torch
        >>> weights = ConFIG(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.207, 0.854]
    """

    def __init__(self, tasks: tuple[str, ...], **options: Any) -> None:
        super().__init__(tasks, construct(aggregation.ConFIG), **options)

    def call(self, gramian: Tensor) -> Tensor:
        """Weights of TorchJD's direction in the span of the gradients, [T, T] → [T]."""
        matrix = factor(gramian)
        weights: Tensor = torch.linalg.pinv(matrix.T) @ self.weighting(matrix)
        return weights


class FairGrad(TorchJDWeighter):
    """FairGrad: weights of an α-fair update.

    Args:
        tasks: Names of the tasks.
        alpha: Parameter of α-fairness.
        max_iters: Largest number of the solver's evaluations; None for the solver's default.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Ban, Ji, ICML 2024; ``torchjd.aggregation.FairGradWeighting``.

    Example:
        >>> import torch
        >>> weights = FairGrad(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.523, 1.077]
    """

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        alpha: PositiveFloat = 1.0,
        max_iters: PositiveInt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(tasks, construct(aggregation.FairGradWeighting, alpha=alpha, max_iters=max_iters), **options)


class IMTLG(TorchJDWeighter):
    """IMTL-G: weights whose combined gradient has equal projections onto all gradients.

    Args:
        tasks: Names of the tasks.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Liu et al., ICLR 2021; ``torchjd.aggregation.IMTLGWeighting``.

    Example:
        >>> import torch
        >>> weights = IMTLG(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.586, 0.414]
    """

    def __init__(self, tasks: tuple[str, ...], **options: Any) -> None:
        super().__init__(tasks, construct(aggregation.IMTLGWeighting), **options)
