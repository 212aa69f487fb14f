"""Weightings that project gradients away from conflict."""

from typing import Any

from torchjd import aggregation
from torchjd.linalg import QuadprogProjector

from mtl_lightning.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from mtl_lightning_torchjd.adapter import TorchJDWeighter, construct


class DualProj(TorchJDWeighter):
    """The mean gradient projected onto the directions that conflict with no task.

    Args:
        tasks: Names of the tasks.
        norm_eps: A trace below this counts as zero.
        reg_eps: Ridge on the Gramian of trace 1.
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
    """The smallest convex combination of the gradients, by Frank and Wolfe's method.

    Args:
        tasks: Names of the tasks.
        epsilon: Step length at which the solver stops.
        max_iters: Most steps of the solver.
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
    """Each gradient loses its part that conflicts with another's, in random order.

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
    """Each gradient is projected onto the directions that conflict with no task; the projections are averaged.

    Args:
        tasks: Names of the tasks.
        norm_eps: A trace below this counts as zero.
        reg_eps: Ridge on the Gramian of trace 1.
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
