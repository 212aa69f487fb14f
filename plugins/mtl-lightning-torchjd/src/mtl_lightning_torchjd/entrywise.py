"""Aggregators that treat each entry of the gradients separately."""

from typing import Unpack

import torch
from torch import Tensor
from torchjd import aggregation

from mtl_lightning.bounds import NonNegativeInt, Share
from mtl_lightning.interfaces import JacobianOptions, JacobianWeighter, MtlError, Step
from mtl_lightning_torchjd.adapter import construct


class TrimmedMean(JacobianWeighter):
    """Trimmed mean: the mean over tasks at each entry of the seam, without the largest and smallest values.

    Args:
        tasks: Names of the tasks.
        trim_number: Number of the largest values, and of the smallest values, to leave out.
        options: Options of every :class:`~mtl_lightning.weighters.bases.jacobian.JacobianWeighter`.

    Raises:
        MtlError: If no task would remain.

    Source:
        Yin et al., "Byzantine-Robust Distributed Learning", ICML 2018; ``torchjd.aggregation.TrimmedMean``.

    Example:
        >>> import torch
        >>> TrimmedMean(("a", "b", "c")).combine(torch.tensor([[[9.0]], [[2.0]], [[1.0]]])).tolist()
        [[2.0]]
    """

    def __init__(
        self, tasks: tuple[str, ...], *, trim_number: NonNegativeInt = 1, **options: Unpack[JacobianOptions]
    ) -> None:
        super().__init__(tasks, **options)
        if len(self.tasks) < 1 + 2 * trim_number:
            raise MtlError(f"weighter.trim_number: none of the {len(self.tasks)} tasks would remain")
        self._inner = (construct(aggregation.TrimmedMean, trim_number),)

    def combine(self, jacobian: Tensor) -> Tensor:
        """Aggregate the gradients, [T, B, D] → [B, D]."""
        combined: Tensor = self._inner[0](jacobian.flatten(1))
        return combined.view_as(jacobian[0])


class GradDrop(JacobianWeighter):
    """GradDrop: at each entry of the seam, keep the gradients of a random sign; the prevailing sign is likelier.

    TorchJD draws a number per entry of a matrix. Here the matrix is a row of z, with equal numbers for all rows, so the
    draw does not depend on the distribution of rows over processes.

    Args:
        tasks: Names of the tasks.
        leak: Share of each gradient that is never dropped.
        options: Options of every :class:`~mtl_lightning.weighters.bases.jacobian.JacobianWeighter`.

    Source:
        Chen et al., "Just Pick a Sign", NeurIPS 2020; ``torchjd.aggregation.GradDrop``.

    Example:
        >>> import torch
        >>> GradDrop(("a", "b")).combine(torch.tensor([[[3.0, 1.0]], [[2.0, 0.0]]])).tolist()
        [[5.0, 1.0]]
    """

    def __init__(self, tasks: tuple[str, ...], *, leak: Share = 0.0, **options: Unpack[JacobianOptions]) -> None:
        super().__init__(tasks, **options)
        self.leak = leak
        self.seed = 0
        self._inner = (aggregation.GradDrop(leak=torch.full((len(self.tasks),), leak)),)

    def begin(self, step: Step) -> None:
        """Draw the seed of this step's random choices."""
        self.seed = int(torch.randint(2**62, (1,), generator=step.generator))

    def combine(self, jacobian: Tensor) -> Tensor:
        """Aggregate the gradients, [T, B, D] → [B, D]."""
        rows = []
        with torch.random.fork_rng(devices=[]):
            for row in jacobian.unbind(1):
                torch.default_generator.manual_seed(self.seed)
                rows.append(self._inner[0](row))
        return torch.stack(rows).nan_to_num(0.0)  # 0/0 if no task has a gradient
