"""Weightings that balance the gradients' sizes and directions."""

from typing import Any, Literal

import torch
from torch import Tensor
from torchjd import aggregation

from mtl_lightning.bounds import PositiveFloat, PositiveInt
from mtl_lightning_torchjd.adapter import TorchJDWeighter, construct, factor


class AlignedMTL(TorchJDWeighter):
    """Gradients made orthogonal and equal in length, then averaged.

    Args:
        tasks: Names of the tasks.
        scale_mode: The eigenvalue that sets the common length.
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
    """The direction with the same cosine to every gradient, as long as the projections of all add up to.

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
        """Weights of the direction that TorchJD finds in the span of the gradients."""
        matrix = factor(gramian)
        weights: Tensor = torch.linalg.pinv(matrix.T) @ self.weighting(matrix)
        return weights


class FairGrad(TorchJDWeighter):
    """α-fair weights.

    Args:
        tasks: Names of the tasks.
        alpha: The kind of fairness.
        max_iters: Most evaluations of the solver; None for its own bound.
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
    """Weights under which the combined gradient has the same projection onto every gradient.

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
