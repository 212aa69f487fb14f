"""Weights by attention between the tasks' training states."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.interfaces import DropRate, PositiveInt, Step, Weighter


class AttentionWeighting(Weighter):
    """Weights from one layer of attention over the training states of all tasks.

    The state of a task is its log-loss, the fall of the log-loss since the start, its present rate of fall, and a
    learned vector. The rate is the difference of a quick and a slow running mean. Scaled dot-product attention over the
    T states gives a score ``s_t``.

    - The model descends ``Σ w_t L_t`` with ``w = T exp(s) / Σ exp(s)`` held constant.
    - The attention descends ``Σ exp(s_t) L_t − s_t`` with the losses held constant. For constant losses the optimum is
      ``exp(s_t) = 1 / L_t``. Descending the weighted sum itself would put all weight on the smallest loss.

    Args:
        tasks: Names of the tasks.
        width: Width of queries, keys and values.
        decay: Decay of the slow running mean; the quick one decays with ``decay ** 5``.

    Source:
        No paper defines this method. Its attention is from Vaswani et al., "Attention Is All You Need", NeurIPS 2017,
        equation 1. Its objective is from IMTL-L (Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021,
        equation 6), and its inputs are loss rates as in DWA (Liu, Johns, Davison, CVPR 2019).

    Example:
        >>> from mtl_lightning.training.step import Step
        >>> weighter = AttentionWeighting(("a", "b"))
        >>> z = torch.ones(2, 1, requires_grad=True)
        >>> step = Step(torch.stack([z.sum(), 3 * z.sum()]), z, tasks=("a", "b"), index=0, seed=0)
        >>> float(weighter(step).detach()), weighter.report()  # before learning: the sum
        (8.0, {'a': 1.0, 'b': 1.0})
    """

    last: Tensor
    first: Tensor
    quick: Tensor
    slow: Tensor
    seen: Tensor

    def __init__(self, tasks: tuple[str, ...], *, width: PositiveInt = 8, decay: DropRate = 0.99) -> None:
        super().__init__(tasks)
        self.decay = decay
        self.identity = nn.Parameter(torch.zeros(len(self.tasks), width))
        self.state = nn.Linear(3, width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.score = nn.Linear(2 * width, 1)
        nn.init.normal_(self.identity, std=0.1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)
        self.register_buffer("last", torch.ones(len(self.tasks), dtype=torch.float64))
        for name in ("first", "quick", "slow"):  # means of the logarithm of the loss
            self.register_buffer(name, torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(len(self.tasks), dtype=torch.bool))

    def forward(self, step: Step) -> Tensor:
        """The objective, a scalar whose value is the weighted sum of the losses."""
        values = step.values.double()
        present = torch.isfinite(values) & (values > 0)
        scores = self._scores(torch.where(present, values, 1.0).log(), present)
        with torch.no_grad():
            weights = len(self.tasks) * scores.double().softmax(0)
            self.last.copy_(weights)
        safe = torch.where(present, values, 0.0).to(scores.dtype)
        learning = torch.where(present, scores.exp() * safe - scores, 0.0 * scores).sum()
        return (weights.to(step.losses.dtype) * step.losses).sum() + (learning - learning.detach())

    def _scores(self, logs: Tensor, present: Tensor) -> Tensor:
        """Scores, [T], from the running means after they have been updated with the log-losses of the step."""
        for mean, decay in ((self.first, 1.0), (self.slow, self.decay), (self.quick, self.decay**5)):
            new = torch.where(self.seen, decay * mean + (1 - decay) * logs, logs)
            mean.copy_(torch.where(present, new, mean))
        self.seen |= present
        states = torch.stack([self.quick, self.quick - self.first, self.quick - self.slow], dim=1)
        tokens = self.state(states.to(self.identity.dtype)) + self.identity
        read = functional.scaled_dot_product_attention(
            self.query(tokens)[None], self.key(tokens)[None], self.value(tokens)[None]
        )[0]
        scores: Tensor = self.score(torch.cat([tokens, read], dim=1))[:, 0]
        return scores.clamp(-20, 20)

    def report(self) -> dict[str, float]:
        """The last weight of each task."""
        return dict(zip(self.tasks, self.last.tolist(), strict=True))
