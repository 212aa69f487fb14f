"""A linear layer per field."""

from collections.abc import Mapping
from itertools import groupby

import torch
from torch import Tensor, nn


def slices_of(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Slices of fields of these widths, side by side.

    Example:
        >>> slices_of({"user": 4, "price": 1})
        {'user': slice(0, 4, None), 'price': slice(4, 5, None)}
    """
    slices, start = {}, 0
    for name, size in sizes.items():
        slices[name] = slice(start, start + size)
        start += size
    return slices


class FieldProjection(nn.Module):
    """Maps each field's vector to one width by its own linear layer: x'_f = W_f x_f + b_f.

    Neighbours of one size are one batched product.

    Source: Ginart et al., "Mixed Dimension Embeddings with Application to Memory-Efficient Recommendation Systems",
    ISIT 2021, where W_f maps tables of different widths to one width. Here it maps vectors of numbers and texts as
    well, and has a bias.

    Args:
        sizes: Width of each field, in their order in the input.
        width: Width P of each projected field.

    Shapes: [B, Σ sizes] → [B, F × P].

    Example:
        >>> project = FieldProjection([4, 4, 2], 3)
        >>> project(torch.zeros(5, 10)).shape
        torch.Size([5, 9])
    """

    def __init__(self, sizes: list[int], width: int) -> None:
        super().__init__()
        runs = [(size, len(list(run))) for size, run in groupby(sizes)]
        self.parts = [size * count for size, count in runs]
        self.weights = nn.ParameterList()
        for size, count in runs:
            bound = size**-0.5
            self.weights.append(nn.Parameter(torch.empty(count, width, size).uniform_(-bound, bound)))
        # Flat, so that weight decay leaves it alone.
        self.bias = nn.Parameter(torch.zeros(len(sizes) * width))

    def forward(self, x: Tensor) -> Tensor:
        """Projected fields side by side."""
        mapped = [
            torch.einsum("bfs,fps->bfp", part.unflatten(1, (-1, weight.shape[2])), weight).flatten(1)
            for part, weight in zip(x.split(self.parts, dim=1), self.weights, strict=True)
        ]
        return torch.cat(mapped, dim=1) + self.bias
