"""Gradient magnitudes of auxiliary tasks brought near the target's (He et al. 2022)."""

import sys
from typing import Literal, Unpack

import torch
from torch import Tensor

from mtl_lightning.bounds import DropRate, Share
from mtl_lightning.errors import MtlError
from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter


class MetaBalance(GramianWeighter):
    """Auxiliary gradients scaled towards the norm of the target task's gradient: ``w = r |g_target| / |g| + (1 − r)``.

    Norms are running means. The paper balances each parameter tensor separately; here the seam is balanced as a whole.

    Args:
        tasks: Names of the tasks.
        target: The main task, the first one by default; the others are auxiliary.
        relax: Relaxation r; 1 makes norms equal, 0 leaves them unchanged.
        decay: Decay of the running means of the norms.
        strategy: ``reduce`` scales gradients larger than the target's, ``enlarge`` smaller ones, ``both`` all of them.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Raises:
        MtlError: If the target is not a task.

    Source:
        He et al., "MetaBalance: Improving Multi-Task Recommendations via Adapting Gradient Magnitudes of Auxiliary
        Tasks", WWW 2022, algorithm 1, equations 5 and 6, strategies A, B and C.

    Example:
        >>> weighter = MetaBalance(("a", "b"), relax=0.7)
        >>> [round(x, 3) for x in weighter.weights(torch.diag(torch.tensor([1.0, 16.0])).double()).tolist()]
        [1.0, 0.475]
    """

    most_on_device = sys.maxsize
    norms: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        target: str | None = None,
        relax: Share = 0.7,
        decay: DropRate = 0.9,
        strategy: Literal["reduce", "enlarge", "both"] = "both",
        **options: Unpack[GramianOptions],
    ) -> None:
        super().__init__(tasks, **options)
        if target is not None and target not in self.tasks:
            raise MtlError(f"weighter.target: no task {target!r}", f"tasks are {', '.join(self.tasks)}")
        self.target = 0 if target is None else self.tasks.index(target)
        self.relax = relax
        self.decay = decay
        self.strategy = strategy
        self.register_buffer("norms", torch.zeros(len(self.tasks), dtype=torch.float64))

    def weights(self, gramian: Tensor) -> Tensor:
        """The weights; 1 for the target."""
        now, before = gramian.diagonal().clamp_min(0).sqrt(), self.norms.to(gramian)
        mean = torch.where(before > 0, self.decay * before + (1 - self.decay) * now, now)
        norms = torch.where(now > 0, mean, before)
        self.norms.copy_(norms)
        known = (norms > 0) & (norms[self.target] > 0)
        ratio = torch.where(known, norms[self.target] / norms, 1.0)
        if self.strategy != "both":
            ratio = ratio.clamp_max(1) if self.strategy == "reduce" else ratio.clamp_min(1)
        return self.relax * ratio + (1 - self.relax)
