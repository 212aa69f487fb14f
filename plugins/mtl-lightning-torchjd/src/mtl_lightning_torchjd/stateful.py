"""Weightings with state, which is stored in buffers so that a checkpoint restores it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchjd import aggregation

from mtl_lightning.bounds import DropRate, NonNegativeFloat, PositiveInt, Share
from mtl_lightning.interfaces import MtlError
from mtl_lightning_torchjd.adapter import TorchJDWeighter, construct, factor


class GradVac(TorchJDWeighter):
    """GradVac: turn each gradient until its cosine with every other one reaches the pair's running mean.

    Args:
        tasks: Names of the tasks.
        beta: Weight of the new cosine in the running mean.
        eps: Constant added to denominators.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Wang et al., ICLR 2021; ``torchjd.aggregation.GradVacWeighting``.

    Example:
        >>> import torch
        >>> weights = GradVac(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.5, 1.25]
    """

    skips_absent = False
    cosines: Tensor

    def __init__(
        self, tasks: tuple[str, ...], *, beta: Share = 0.5, eps: NonNegativeFloat = 1e-8, **options: Any
    ) -> None:
        super().__init__(tasks, construct(aggregation.GradVacWeighting, beta=beta, eps=eps), **options)
        self.register_buffer("cosines", torch.zeros(len(self.tasks), len(self.tasks), dtype=torch.float64))

    def call(self, gramian: Tensor) -> Tensor:
        """TorchJD's weights, with the running means of the buffer, [T, T] → [T]."""
        self.weighting._phi_t = self.cosines.to(gramian).clone()
        self.weighting._state_key = (len(gramian), gramian.dtype)
        weights = super().call(gramian)
        self.cosines.copy_(self.weighting._phi_t)
        return weights


class NashMTL(TorchJDWeighter):
    """Nash-MTL: the Nash bargaining solution, by a sequence of convex programmes.

    Args:
        tasks: Names of the tasks.
        max_norm: Bound on the norm of the update relative to the root mean square of the gradients; 0 for none.
        optim_niter: Largest number of convex programmes per step.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Source:
        Navon et al., ICML 2022; ``torchjd.aggregation.NashMTL``, which needs cvxpy and ecos.

    Example:
        >>> import torch
        >>> weights = NashMTL(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.523, 1.077]
    """

    skips_absent = False
    previous: Tensor

    def __init__(
        self, tasks: tuple[str, ...], *, max_norm: NonNegativeFloat = 0.0, optim_niter: PositiveInt = 20, **options: Any
    ) -> None:
        super().__init__(
            tasks,
            construct(aggregation.NashMTL, len(tasks), max_norm=max_norm, optim_niter=optim_niter).weighting,
            **options,
        )
        self.register_buffer("previous", torch.ones(len(self.tasks), dtype=torch.float64))

    def call(self, gramian: Tensor) -> Tensor:
        """TorchJD's weights, with the previous step's as the initial solution, [T, T] → [T]."""
        if len(gramian) == 1:  # cvxpy treats a matrix of one entry as a scalar
            return torch.ones_like(gramian[0])
        self.weighting.prvs_alpha = self.previous.cpu().numpy().astype(np.float32)
        weights = super().call(factor(gramian))
        self.previous.copy_(torch.as_tensor(np.asarray(self.weighting.prvs_alpha)))
        return weights


class PCD(TorchJDWeighter):
    """PCD: a primary task, which the other tasks must not harm.

    Args:
        tasks: Names of the tasks.
        primary: Name of the primary task; None for the first task.
        tau: Required progress of each secondary task, in [0, 1].
        beta: Decay of the running means of the squared norms.
        eps: Constant added to denominators.
        options: Options of every :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Raises:
        MtlError: If the primary task is unknown.

    Source:
        ``torchjd.aggregation.PCDWeighting``. Its running means cover norms relative to the step's mean norm.

    Example:
        >>> import torch
        >>> weights = PCD(("a", "b")).weights(torch.tensor([[1.0, -0.5], [-0.5, 2.0]]).double())
        >>> [round(x, 3) for x in weights.tolist()]
        [1.069, 0.282]
    """

    skips_absent = False
    squares: Tensor
    steps: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        primary: str | None = None,
        tau: Share = 0.02,
        beta: DropRate = 0.999,
        eps: NonNegativeFloat = 1e-8,
        **options: Any,
    ) -> None:
        if primary is not None and primary not in tasks:
            raise MtlError(f"weighter.primary: no task {primary!r}", f"tasks are {', '.join(tasks)}")
        super().__init__(tasks, construct(aggregation.PCDWeighting, tau=tau, beta=beta, eps=eps), **options)
        first = 0 if primary is None else self.tasks.index(primary)
        self.places = torch.tensor([first, *(i for i in range(len(self.tasks)) if i != first)])
        self.register_buffer("squares", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def call(self, gramian: Tensor) -> Tensor:
        """TorchJD's weights, with the running means of the buffers, [T, T] → [T]; its first task is the primary one."""
        seen = int(self.steps) > 0
        self.weighting._sq_norm_ema = self.squares.cpu().clone() if seen else None
        self.weighting._n_steps = self.steps.cpu().clone() if seen else None
        self.weighting._state_key = len(gramian) if seen else None
        reordered = super().call(gramian[self.places][:, self.places])
        self.squares.copy_(self.weighting._sq_norm_ema)
        self.steps.copy_(self.weighting._n_steps)
        weights = torch.empty_like(reordered)
        weights[self.places] = reordered
        return weights
