"""Linear maps of an ensemble whose members share one matrix."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.layers.initialisation import he_uniform_


class BatchEnsembleLinear(nn.Module):
    """k linear maps that share a matrix but for rank-one scalings: y_m = s_m ∘ W (r_m ∘ x_m) + b_m.

    Scalings and biases start equal for all members, apart from random signs in r where ``signs`` asks for them.

    Source: Wen et al., "BatchEnsemble", ICLR 2020, equation 5; initialisation by Gorishniy et al., "TabM", ICLR 2025.

    Args:
        members: Number k of members.
        in_width: Width of the input.
        out_width: Width of the output.
        activation: Name of the activation that follows, for the initialisation of W.
        signs: Whether r starts with random signs, which makes members differ; otherwise with ones.

    Shapes: [B, k, in_width] → [B, k, out_width].

    Example:
        >>> layer = BatchEnsembleLinear(3, 4, 2, activation="relu", signs=True)
        >>> layer(torch.ones(5, 3, 4)).shape, sum(value.numel() for value in layer.parameters())
        (torch.Size([5, 3, 2]), 32)
    """

    def __init__(self, members: int, in_width: int, out_width: int, *, activation: str, signs: bool = False) -> None:
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty(out_width, in_width))
        he_uniform_(self.weight, None, activation)
        # Scalings and biases are flat because the optimizer decays matrices only.
        scales = torch.ones(members * in_width)
        self.in_scale = nn.Parameter(scales.bernoulli_(0.5).mul_(2).sub_(1) if signs else scales)
        self.out_scale = nn.Parameter(torch.ones(members * out_width))
        self.bias = nn.Parameter(torch.zeros(members * out_width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each member's map to its own input."""
        scaled = functional.linear(x * self.in_scale.view(self.members, -1), self.weight)
        return scaled * self.out_scale.view(self.members, -1) + self.bias.view(self.members, -1)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"members={self.members}, in_width={self.weight.shape[1]}, out_width={self.weight.shape[0]}"
