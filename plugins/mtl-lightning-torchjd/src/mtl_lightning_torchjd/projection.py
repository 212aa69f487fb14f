"""Weightings that remove conflicts by projection."""

from typing import Any

from torchjd import aggregation
from torchjd.linalg import QuadprogProjector

from mtl_lightning.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from mtl_lightning_torchjd.adapter import TorchJDWeighter, construct


class DualProj(TorchJDWeighter):
    """DualProj: the mean gradient projected onto the directions without any conflict.

    Args:
        tasks: Names of the tasks.
        norm_eps: Trace below which the Gramian counts as zero.
        reg_eps: Ridge added to the Gramian, scaled to trace 1.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Lopez-Paz, Ranzato, NeurIPS 2017; ``torchjd.aggregation.DualProjWeighting``.

    Example:
        >>> import torch
        >>> weights = DualProj(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.5, 0.5]
    """

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        norm_eps: NonNegativeFloat = 1e-4,
        reg_eps: NonNegativeFloat = 1e-4,
        **options: Any,
    ) -> None:
        super().__init__(
            tasks,
            construct(
                aggregation.DualProjWeighting,
                projector=construct(QuadprogProjector, norm_eps=norm_eps, reg_eps=reg_eps),
            ),
            **options,
        )


class MGDA(TorchJDWeighter):
    """MGDA: the convex combination of gradients with the smallest norm, by the Frank-Wolfe method.

    Args:
        tasks: Names of the tasks.
        epsilon: Step length at which the solver stops.
        max_iters: Largest number of steps of the solver.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Sener, Koltun, NeurIPS 2018, algorithm 2; ``torchjd.aggregation.MGDAWeighting``.

    Example:
        >>> import torch
        >>> weights = MGDA(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.625, 0.375]
    """

    def __init__(
        self, tasks: tuple[str, ...], *, epsilon: PositiveFloat = 1e-3, max_iters: PositiveInt = 100, **options: Any
    ) -> None:
        super().__init__(tasks, construct(aggregation.MGDAWeighting, epsilon=epsilon, max_iters=max_iters), **options)


class PCGrad(TorchJDWeighter):
    """PCGrad: remove from each gradient the components that conflict with other gradients, in random order.

    Args:
        tasks: Names of the tasks.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Yu et al., NeurIPS 2020; ``torchjd.aggregation.PCGradWeighting``.

    Example:
        >>> import torch
        >>> weights = PCGrad(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.5, 1.25]
    """

    def __init__(self, tasks: tuple[str, ...], **options: Any) -> None:
        super().__init__(tasks, construct(aggregation.PCGradWeighting), **options)


class UPGrad(TorchJDWeighter):
    """UPGrad: the mean of the gradients' projections onto the directions without any conflict.

    Args:
        tasks: Names of the tasks.
        norm_eps: Trace below which the Gramian counts as zero.
        reg_eps: Ridge added to the Gramian, scaled to trace 1.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Quinton, Rey, 2024; ``torchjd.aggregation.UPGradWeighting``.

    Example:
        >>> import torch
        >>> weights = UPGrad(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.75, 0.625]
    """

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        norm_eps: NonNegativeFloat = 1e-4,
        reg_eps: NonNegativeFloat = 1e-4,
        **options: Any,
    ) -> None:
        super().__init__(
            tasks,
            construct(
                aggregation.UPGradWeighting, projector=construct(QuadprogProjector, norm_eps=norm_eps, reg_eps=reg_eps)
            ),
            **options,
        )
