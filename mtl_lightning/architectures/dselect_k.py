"""DSelect-k: gates that become exactly sparse, by smooth steps."""

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, NonNegativeFloat, PositiveFloat, PositiveInt, Schema, Sizes
from mtl_lightning.layers.mlp import Experts, LayerOptions, mixtures


def smooth_step(t: Tensor, gamma: float) -> Tensor:
    """0 below −γ/2, 1 above γ/2, and the cubic −2t³/γ³ + 3t/(2γ) + ½ between.

    Example:
        >>> smooth_step(torch.tensor([-1.0, 0.0, 0.25, 1.0]), 1.0).tolist()
        [0.0, 0.5, 0.84375, 1.0]
    """
    inside = t.clamp(-gamma / 2, gamma / 2)
    return -2 / gamma**3 * inside**3 + 3 / (2 * gamma) * inside + 0.5


class DSelectK(DenseArchitecture):
    """Gates that pick at most k experts, differentiable throughout.

    Each of a task's k selectors has m = ⌈log₂ E⌉ numbers z = Z x, which the smooth step S turns into bits. Expert e
    with binary code b gets r(z)_e = Π_j S(z_j)^b_j (1 − S(z_j))^(1 − b_j), exactly 0 or 1 once the numbers leave
    (−γ/2, γ/2). The gate is Σ_i softmax(A x)_i r(z^i). With ``entropy`` the mean entropy of the r(z^i) is added to the
    objective, which makes the gates sparse sooner. If E is not a power of two, code c belongs to expert c mod E; the
    paper penalises surplus codes instead.

    Source: Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts", NeurIPS 2021
    (per-example gating).

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        experts: Number E of experts.
        selected: Largest number k of experts that a gate mixes.
        hidden: Layer sizes of each expert; H is the last.
        gamma: Width γ of the smooth step.
        entropy: Factor of the entropy term.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, H]; gates, kept when asked, [B, E] per task.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> DSelectK(schema, encoder, experts=3, hidden=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    codes: Tensor

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        experts: PositiveInt = 8,
        selected: PositiveInt = 2,
        hidden: Sizes = (128, 64),
        gamma: PositiveFloat = 1.0,
        entropy: NonNegativeFloat = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.selected, self.gamma, self.entropy = selected, gamma, entropy
        self.experts = Experts(experts, encoder.width, hidden, **self.layer_options)
        self.bits = max(1, math.ceil(math.log2(experts)))
        self.widths = dict.fromkeys(self.tasks, hidden[-1])
        count = len(self.tasks) * selected
        self.selectors = nn.Linear(encoder.width, count * self.bits)
        self.mix = nn.Linear(encoder.width, count)
        with torch.no_grad():
            # Near the middle of the step, so that every expert starts with a share (section 4 of the paper).
            self.selectors.weight.uniform_(-gamma / 100, gamma / 100)
            self.selectors.bias.uniform_(-gamma / 100, gamma / 100)
        numbers = torch.arange(2**self.bits)
        self.register_buffer("codes", (numbers.unsqueeze(1) >> torch.arange(self.bits)) & 1, persistent=False)

    def select(self, x: Tensor) -> Tensor:
        """r(z) of every task's selectors, [B, T, k, E]."""
        step = smooth_step(self.selectors(x), self.gamma).view(-1, len(self.tasks), self.selected, 1, self.bits)
        share = torch.where(self.codes.bool(), step, 1 - step).prod(-1)
        count = self.experts.count
        return torch.stack([share[..., e::count].sum(-1) for e in range(count)], dim=-1)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        picked = self.select(encoded.z)
        share = self.mix(encoded.z).view(-1, len(self.tasks), self.selected).softmax(-1)
        weights = (share.unsqueeze(-1) * picked).sum(2)
        if self.keep_gates:
            self.gates = {task: weights[:, i].detach() for i, task in enumerate(self.tasks)}
        if self.training and self.entropy > 0:
            # Clamp cuts the gradient at exact zeros, where the slope of the entropy is infinite.
            entropy = -(picked * picked.clamp(min=1e-12).log()).sum(-1)
            self.penalty = self.entropy * entropy.mean((1, 2))
        experts = self.experts(encoded.z)
        self.record(experts, weights)
        return dict(zip(self.tasks, mixtures(weights, experts), strict=True))
