"""Weightings that balance the gradients' sizes and directions."""

from typing import Literal

import torch
from torch import Tensor
from torchjd import aggregation

from mtl_lightning_torchjd.adapter import TorchJDWeighter, construct, factor


class AlignedMTL(TorchJDWeighter):
    """Gradients made orthogonal and equal in length, then averaged.

    Args:
        tasks: Names of the tasks.
        scale_mode: The eigenvalue that sets the common length.
        every: As for every :class:`~mtl_lightning.weighters.gramian.GramianWeighter`, and so what follows.
        scope: What the weights apply to.
        rescale: Whether the weights are scaled to sum to the number of tasks.
        gradients_at: Where gradients are taken.

    Source:
        Senushkin et al., CVPR 2023; ``torchjd.aggregation.AlignedMTLWeighting``.

    Example:
        >>> import torch
        >>> weights = AlignedMTL(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.541, 0.4]
    """

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        scale_mode: Literal["min", "median", "rmse"] = "min",
        every: int = 1,
        scope: Literal["encoder", "model"] = "encoder",
        rescale: bool = False,
        gradients_at: str = "seam",
    ) -> None:
        super().__init__(
            tasks,
            construct(aggregation.AlignedMTLWeighting, scale_mode=scale_mode),
            every=every,
            scope=scope,
            rescale=rescale,
            gradients_at=gradients_at,
        )


class ConFIG(TorchJDWeighter):
    """The direction with the same cosine to every gradient, as long as the projections of all add up to.

    Args:
        tasks: Names of the tasks.
        every: As for every :class:`~mtl_lightning.weighters.gramian.GramianWeighter`, and so what follows.
        scope: What the weights apply to.
        rescale: Whether the weights are scaled to sum to the number of tasks.
        gradients_at: Where gradients are taken.

    Source:
        Liu, Chu, Thuerey, ICLR 2025; ``torchjd.aggregation.ConFIG``.

    Example:
        >>> import torch
        >>> weights = ConFIG(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.207, 0.854]
    """

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        every: int = 1,
        scope: Literal["encoder", "model"] = "encoder",
        rescale: bool = False,
        gradients_at: str = "seam",
    ) -> None:
        super().__init__(
            tasks, construct(aggregation.ConFIG), every=every, scope=scope, rescale=rescale, gradients_at=gradients_at
        )

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
        every: As for every :class:`~mtl_lightning.weighters.gramian.GramianWeighter`, and so what follows.
        scope: What the weights apply to.
        rescale: Whether the weights are scaled to sum to the number of tasks.
        gradients_at: Where gradients are taken.

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
        alpha: float = 1.0,
        max_iters: int | None = None,
        every: int = 1,
        scope: Literal["encoder", "model"] = "encoder",
        rescale: bool = False,
        gradients_at: str = "seam",
    ) -> None:
        super().__init__(
            tasks,
            construct(aggregation.FairGradWeighting, alpha=alpha, max_iters=max_iters),
            every=every,
            scope=scope,
            rescale=rescale,
            gradients_at=gradients_at,
        )


class IMTLG(TorchJDWeighter):
    """Weights under which the combined gradient has the same projection onto every gradient.

    Args:
        tasks: Names of the tasks.
        every: As for every :class:`~mtl_lightning.weighters.gramian.GramianWeighter`, and so what follows.
        scope: What the weights apply to.
        rescale: Whether the weights are scaled to sum to the number of tasks.
        gradients_at: Where gradients are taken.

    Source:
        Liu et al., ICLR 2021; ``torchjd.aggregation.IMTLGWeighting``.

    Example:
        >>> import torch
        >>> weights = IMTLG(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.586, 0.414]
    """

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        every: int = 1,
        scope: Literal["encoder", "model"] = "encoder",
        rescale: bool = False,
        gradients_at: str = "seam",
    ) -> None:
        super().__init__(
            tasks,
            construct(aggregation.IMTLGWeighting),
            every=every,
            scope=scope,
            rescale=rescale,
            gradients_at=gradients_at,
        )
