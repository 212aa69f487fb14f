"""Weightings near the mean, and weightings that select gradients."""

from typing import Any

from torchjd import aggregation

from mtl_lightning.bounds import NonNegativeFloat, NonNegativeInt, PositiveInt
from mtl_lightning.interfaces import MtlError
from mtl_lightning_torchjd.adapter import TorchJDWeighter, construct


class CAGrad(TorchJDWeighter):
    """CAGrad: the direction in a ball around the mean gradient that is best for the worst task.

    Args:
        tasks: Names of the tasks.
        c: Radius of the ball, as a multiple of the mean gradient's norm.
        norm_eps: Norm below which a gradient counts as zero.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Liu et al., NeurIPS 2021; ``torchjd.aggregation.CAGradWeighting``, which needs cvxpy and clarabel.

    Example:
        >>> import torch
        >>> weights = CAGrad(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.783, 0.5]
    """

    def __init__(
        self, tasks: tuple[str, ...], *, c: NonNegativeFloat = 0.4, norm_eps: NonNegativeFloat = 1e-4, **options: Any
    ) -> None:
        super().__init__(tasks, construct(aggregation.CAGradWeighting, c=c, norm_eps=norm_eps), **options)


class Krum(TorchJDWeighter):
    """Krum: the mean of the gradients closest to their neighbours.

    Args:
        tasks: Names of the tasks.
        n_byzantine: Number of gradients that may be arbitrary; at least three more tasks are needed.
        n_selected: Number of gradients in the mean.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Raises:
        MtlError: If there are too few tasks.

    Source:
        Blanchard et al., NeurIPS 2017; ``torchjd.aggregation.KrumWeighting``.

    Example:
        >>> import torch
        >>> weights = Krum(("a", "b", "c")).weights(torch.eye(3).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.0, 0.0, 0.0]
    """

    skips_absent = False  # the number of tasks is fixed

    def __init__(
        self, tasks: tuple[str, ...], *, n_byzantine: NonNegativeInt = 0, n_selected: PositiveInt = 1, **options: Any
    ) -> None:
        if len(tasks) < max(n_byzantine + 3, n_selected):
            raise MtlError(
                f"weighter.n_byzantine: krum needs at least {max(n_byzantine + 3, n_selected)} tasks, not {len(tasks)}"
            )
        super().__init__(
            tasks, construct(aggregation.KrumWeighting, n_byzantine=n_byzantine, n_selected=n_selected), **options
        )


class Mean(TorchJDWeighter):
    """The mean of the gradients.

    Args:
        tasks: Names of the tasks.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        ``torchjd.aggregation.MeanWeighting``.

    Example:
        >>> import torch
        >>> weights = Mean(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.5, 0.5]
    """

    def __init__(self, tasks: tuple[str, ...], **options: Any) -> None:
        super().__init__(tasks, construct(aggregation.MeanWeighting), **options)


class Random(TorchJDWeighter):
    """Random weights that sum to one.

    Args:
        tasks: Names of the tasks.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Lin et al., TMLR 2022; ``torchjd.aggregation.RandomWeighting``.

    Example:
        >>> import torch
        >>> weights = Random(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [0.862, 0.138]
    """

    def __init__(self, tasks: tuple[str, ...], **options: Any) -> None:
        super().__init__(tasks, construct(aggregation.RandomWeighting), **options)
