"""Coefficient-of-variation weighting (Groenendijk et al. 2021)."""

import torch
from mtl_lightning.interfaces import Step, Weighter
from torch import Tensor


class Cov(Weighter):
    """Weights tasks by how much their losses still vary, relative to their mean.

    With the loss ratio ``r_t = L_t / μ(L_t)``, where μ is the mean over the steps before, task t weighs
    ``c_t / Σ_s c_s`` with ``c_t = σ(r_t) / μ(r_t)``, both over all steps so far: a loss that has settled needs no more
    attention. Means and deviations are kept by Welford's recurrence. A step without a label of a task changes
    none of its statistics.

    Args:
        tasks: Names of the tasks.
        warmup: Steps with equal weights, before the deviations mean anything.

    Shapes: values of the losses [T] → weights [T], which sum to 1.

    Source:
        Groenendijk, Karaoglu, Gevers, Mensink, "Multi-Loss Weighting with Coefficient of Variations", WACV 2021,
        section 3. Made for several losses of one task; here the losses belong to several tasks.

    Example:
        >>> from mtl_lightning.interfaces import TrainingStep
        >>> weighter = Cov(("click", "buy"), warmup=1)
        >>> for index, (click, buy) in enumerate([(1.0, 1.0), (1.0, 2.0)]):
        ...     z = torch.ones(1, 1, requires_grad=True)
        ...     objective = weighter(TrainingStep(torch.stack([click * z.sum(), buy * z.sum()]), z,
        ...                                       tasks=("click", "buy"), index=index, seed=0))
        >>> weighter.report()  # only the second loss moves
        {'click': 0.0, 'buy': 1.0}
    """

    count: Tensor
    loss_mean: Tensor
    ratio_mean: Tensor
    ratio_squares: Tensor
    last: Tensor

    def __init__(self, tasks: tuple[str, ...], *, warmup: int = 2) -> None:
        super().__init__(tasks)
        self.warmup = warmup
        for name in ("count", "loss_mean", "ratio_mean", "ratio_squares"):
            self.register_buffer(name, torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("last", self._equal())

    def forward(self, step: Step) -> Tensor:
        """The weighted sum of the losses, a scalar."""
        self._observe(step.values.double())
        self.last.copy_(self._weights() if step.index >= self.warmup else self._equal())
        return (self.last.to(step.losses.dtype) * step.losses).sum()

    def report(self) -> dict[str, float]:
        """The last weight of each task."""
        return dict(zip(self.tasks, self.last.tolist(), strict=True))

    def _equal(self) -> Tensor:
        return torch.full((len(self.tasks),), 1 / len(self.tasks), dtype=torch.float64)

    def _observe(self, values: Tensor) -> None:
        seen = torch.isfinite(values) & (values > 0)
        values = torch.where(seen, values, 1.0)
        ratio = torch.where(self.count > 0, values / self.loss_mean, 1.0)
        count = self.count + 1
        shift = ratio - self.ratio_mean
        mean = self.ratio_mean + shift / count
        for buffer, new in (
            (self.ratio_squares, self.ratio_squares + shift * (ratio - mean)),
            (self.ratio_mean, mean),
            (self.loss_mean, self.loss_mean + (values - self.loss_mean) / count),
            (self.count, count),
        ):
            buffer.copy_(torch.where(seen, new, buffer))

    def _weights(self) -> Tensor:
        deviation = (self.ratio_squares.clamp_min(0) / self.count.clamp_min(1)).sqrt()
        variation = torch.where(self.ratio_mean > 0, deviation / self.ratio_mean, 0.0)
        total = variation.sum()
        return torch.where(total > 0, variation / total, self._equal().to(total.device))
