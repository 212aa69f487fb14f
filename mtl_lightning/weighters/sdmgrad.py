"""Direction-oriented multi-objective gradients (Xiao, Ban, Ji 2023)."""

import sys
from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.bounds import DropRate, NonNegativeFloat, PositiveFloat, PositiveInt
from mtl_lightning.errors import MtlError
from mtl_lightning.weighters.bases.gramian import GramianOptions
from mtl_lightning.weighters.bases.paired import PairedWeighter
from mtl_lightning.weighters.bases.quadratic import simplex_projection


class SDMGrad(PairedWeighter):
    """MGDA near a preferred direction: weights ``(w + λ p) / (1 + λ)`` of a common direction that leans towards p.

    w minimizes ``|Σ (w_t + λ p_t) g_t|²`` on the simplex, by ``iterations`` projected steps with momentum from the w of
    the previous step. Inner products are taken between two batches, so that the noise of one batch does not bias them
    (:class:`~mtl_lightning.weighters.bases.paired.PairedWeighter`). λ = 0 is MGDA, a large λ the weighted sum with
    weights p. The paper draws three batches for each step.

    Args:
        tasks: Names of the tasks.
        pull: Strength λ of the pull towards p.
        preference: Share p of each task in the preferred direction. Tasks that are not named have share 1, and the
            shares are scaled to sum to one. By default the direction is the mean gradient.
        learning_rate: Step size of w.
        momentum: Momentum of w's steps.
        iterations: Steps of w per computation of the weights.
        options: Options of :class:`~mtl_lightning.weighters.bases.gramian.GramianWeighter`.

    Raises:
        MtlError: If a share is negative or names an unknown task, or if all shares are zero.

    Source:
        Xiao, Ban, Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms",
        NeurIPS 2023, equation 4, algorithm 1; step size, momentum and λ as in the authors' experiments.

    Example:
        >>> weighter = SDMGrad(("a", "b"), pull=0.0, learning_rate=0.5, iterations=1)
        >>> weighter.weights(torch.diag(torch.tensor([0.5, 1.5])).double()).tolist()
        [0.625, 0.375]
    """

    most_on_device = sys.maxsize
    inner: Tensor
    preference: Tensor

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        pull: NonNegativeFloat = 0.3,
        preference: Mapping[str, float] | None = None,
        learning_rate: PositiveFloat = 10.0,
        momentum: DropRate = 0.5,
        iterations: PositiveInt = 20,
        **options: Unpack[GramianOptions],
    ) -> None:
        super().__init__(tasks, **options)
        named = dict(preference or {})
        shares = torch.tensor([float(named.pop(name, 1.0)) for name in self.tasks], dtype=torch.float64)
        if named:
            raise MtlError(f"weighter.preference: no task {next(iter(named))!r}", f"tasks are {', '.join(self.tasks)}")
        if float(shares.min()) < 0 or float(shares.sum()) == 0:
            raise MtlError("weighter.preference: shares must be at least 0, and one of them more")
        self.pull = pull
        self.register_buffer("preference", shares / shares.sum(), persistent=False)
        self.learning_rate, self.momentum, self.iterations = learning_rate, momentum, iterations
        self.register_buffer("inner", torch.full((len(self.tasks),), 1 / len(self.tasks), dtype=torch.float64))

    def weights(self, gramian: Tensor) -> Tensor:
        """The weights of the tasks that have had a gradient; they sum to one."""
        wanted = self.preference.to(gramian)[self.present]
        wanted = wanted / wanted.sum().clamp_min(torch.finfo(wanted.dtype).tiny)
        inner, velocity = self.inner.to(gramian)[self.present], torch.zeros_like(wanted)
        for _ in range(self.iterations):
            velocity = self.momentum * velocity + gramian @ (inner + self.pull * wanted)
            inner = simplex_projection(inner - self.learning_rate * velocity)
        self.inner[self.present] = inner.to(self.inner)
        return (inner + self.pull * wanted) / (inner + self.pull * wanted).sum()

    @override
    def weights_of_present(self, gramian: Tensor, present: Tensor) -> Tensor:
        wanted = torch.where(present, self.preference.to(gramian), 0.0)
        wanted = wanted / wanted.sum().clamp_min(torch.finfo(wanted.dtype).tiny)
        inner, velocity = torch.where(present, self.inner.to(gramian), 0.0), torch.zeros_like(wanted)
        for _ in range(self.iterations):
            velocity = self.momentum * velocity + gramian @ (inner + self.pull * wanted)
            moved = inner - self.learning_rate * velocity
            inner = simplex_projection(torch.where(present, moved, -torch.inf))
        self.inner.copy_(torch.where(present, inner, self.inner))
        return (inner + self.pull * wanted) / (inner + self.pull * wanted).sum()
