"""Experts of HoME: normalised, behind feature gates, with self gates."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_lightning.layers.batched import BatchedLinear
from mtl_lightning.layers.mlp import Experts


class GatedExperts(nn.Module):
    """E experts Swish(Norm(MLP(v ⊙ FeaGate(v)))), each with its own feature gate, and a self gate over them.

    FeaGate(v) = Σ_i softmax(W v)_i · 2σ(v B_i A_i) mixes L low-rank maps, so that an expert selects its features. The
    self gate is a softmax over the experts, or a sigmoid for a single one. It gives their group an output that does not
    depend on other groups' gates.

    Args:
        count: Number E of experts.
        in_width: Width of the input.
        hidden: Layer sizes of each expert; H is the last.
        rank: Rank of a low-rank map.
        maps: Number L of low-rank maps.
        dropout: Dropout in the experts.
        self_gate: Whether there is a self gate; without it the sum is zero.

    Shapes: [B, in_width] → outputs [B, E, H] and their self-gated sum [B, H].

    Example:
        >>> outputs, own = GatedExperts(3, 4, [8], rank=2, maps=2)(torch.zeros(5, 4))
        >>> outputs.shape, own.shape
        (torch.Size([5, 3, 8]), torch.Size([5, 8]))
    """

    def __init__(
        self,
        count: int,
        in_width: int,
        hidden: Sequence[int],
        *,
        rank: int,
        maps: int,
        dropout: float = 0.0,
        self_gate: bool = True,
    ) -> None:
        super().__init__()
        self.count, self.maps = count, maps
        self.down = BatchedLinear(count * maps, in_width, rank, bias=False)
        self.up = BatchedLinear(count * maps, rank, in_width, bias=False)
        self.choice = nn.Linear(in_width, count * maps) if maps > 1 else None
        self.experts = Experts(count, in_width, hidden, activation="silu", norm="layer", dropout=dropout)
        self.self_gate = nn.Linear(in_width, count) if self_gate else None
        self.width = self.experts.width

    def feature_gate(self, v: Tensor) -> Tensor:
        """Factors for each expert's input, [E, B, in_width]."""
        score: Tensor = self.up(self.down(v))
        factors = 2 * score.sigmoid()
        if self.choice is None:
            return factors
        share = self.choice(v).view(-1, self.count, self.maps).softmax(-1).permute(1, 2, 0)
        mixed: Tensor = (factors.unflatten(0, (self.count, self.maps)) * share.unsqueeze(-1)).sum(1)
        return mixed

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Experts' outputs and their self-gated sum."""
        outputs = self.experts(self.feature_gate(v) * v)
        if self.self_gate is None:
            return outputs, torch.zeros_like(outputs[:, 0])
        score = self.self_gate(v)
        weights = score.sigmoid() if self.count == 1 else score.softmax(-1)
        return outputs, torch.einsum("be,beh->bh", weights, outputs)
