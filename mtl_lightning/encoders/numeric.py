"""Numbers as vectors: piecewise linear over quantiles, with or without levels, or periodic."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.schema import Field


def bin_edges(field: Field, bins: int = 32) -> list[float]:
    """A field's quantiles; quantiles of a standard normal distribution where none were fitted; at least two.

    Example:
        >>> bin_edges(Field(name="price", kind="numeric", edges=(-1.0, 0.5, 3.0)))
        [-1.0, 0.5, 3.0]
    """
    if field.edges:
        half = max(0.5, abs(field.edges[0]) * 1e-6)  # wide enough to be distinct in float32
        return [*field.edges] if len(field.edges) > 1 else [field.edges[0] - half, field.edges[0] + half]
    return [NormalDist().inv_cdf((i + 0.5) / (bins + 1)) for i in range(bins + 1)]


class PiecewiseLinear(nn.Module):
    """A vector per number that is piecewise linear between the feature's quantiles.

    v(x) = w x + b + Σ_j W_j e_j(x), where e_j(x) is the share of bin j below x: 0 before the bin, 1 after it. W starts
    at zero, so that training starts from a linear map. Where there are many values, bins are narrow and the function
    can bend.

    Source: Gorishniy, Rubachev & Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS
    2022, section 3.2.

    Args:
        fields: Numeric fields.
        width: Width d of a vector.

    Shapes: [B, F] → [B, F × d].

    Example:
        >>> encode = PiecewiseLinear([Field(name="price", kind="numeric", edges=(0.0, 1.0, 3.0))], 4)
        >>> encode.shares(torch.tensor([[2.0]])).tolist()
        [[[1.0, 0.5]]]
    """

    lower: Tensor
    width_inverse: Tensor

    def __init__(self, fields: Sequence[Field], width: int) -> None:
        super().__init__()
        edges = [bin_edges(field) for field in fields]
        bins = max(len(bounds) for bounds in edges) - 1
        lower = torch.zeros(len(fields), bins)
        inverse = torch.zeros(len(fields), bins)  # bins that a field does not have stay at share 0
        for i, bounds in enumerate(edges):
            known, count = torch.tensor(bounds), len(bounds) - 1
            # A bin without width, or with an infinite one, in float32 stays at share 0.
            inverse[i, :count] = (1 / known.diff()).nan_to_num(posinf=0.0)
            lower[i, :count] = torch.where(inverse[i, :count] > 0, known[:-1], 0)
        self.register_buffer("lower", lower, persistent=False)
        self.register_buffer("width_inverse", inverse, persistent=False)
        # Flat where the optimizer must not decay.
        self.linear = nn.Parameter(torch.empty(len(fields) * width).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.empty(len(fields) * width).uniform_(-1, 1))
        self.weight = nn.Parameter(torch.zeros(len(fields), bins, width))

    def shares(self, x: Tensor) -> Tensor:
        """Share of each bin below x, [B, F, bins]."""
        return ((x.unsqueeze(2) - self.lower) * self.width_inverse).clamp(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors side by side."""
        bent = torch.einsum("bfj,fjd->bfd", self.shares(x), self.weight)
        shape = bent.shape[1:]
        return (x.unsqueeze(2) * self.linear.view(shape) + self.bias.view(shape) + bent).flatten(1)


class Levels(PiecewiseLinear):
    """A piecewise linear vector per number, and a vector for its level, as a tree has a leaf for an interval.

    v(x) = piecewise(x) + L_k, where k is the number of edges that are at most x. L starts at zero. Where a feature has
    an edge per value, each value has a vector of its own, as an id has. Amounts with a meaning of their own need it,
    such as limits, round sums and "never": a function that is piecewise linear reaches them by steep slopes only.

    Source: the piecewise part as in :class:`PiecewiseLinear`; levels are the one-hot bins that section 3.2 starts from.

    Args:
        fields: Numeric fields.
        width: Width d of a vector.

    Shapes: [B, F] → [B, F × d].

    Example:
        >>> encode = Levels([Field(name="price", kind="numeric", edges=(0.0, 1.0, 3.0))], 4)
        >>> encode.level(torch.tensor([[-1.0], [0.0], [2.0], [3.0]])).tolist()
        [[0], [1], [2], [3]]
    """

    edges: Tensor
    places: Tensor

    def __init__(self, fields: Sequence[Field], width: int) -> None:
        super().__init__(fields, width)
        edges = [torch.tensor(bin_edges(field)) for field in fields]
        joined = nn.utils.rnn.pad_sequence(edges, batch_first=True, padding_value=math.inf)
        self.register_buffer("edges", joined, persistent=False)
        count = joined.shape[1] + 1
        self.register_buffer("places", torch.arange(len(fields)) * count, persistent=False)
        self.levels = nn.Parameter(torch.zeros(len(fields) * count, width))

    def level(self, x: Tensor) -> Tensor:
        """Number of the field's edges that are at most x, [B, F]."""
        return (x.unsqueeze(2) >= self.edges).sum(2)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Vectors side by side."""
        return super().forward(x) + functional.embedding(self.level(x) + self.places, self.levels).flatten(1)


class Periodic(nn.Module):
    """A vector per number from the number itself and from sines and cosines with learned frequencies.

    v(x) = ReLU(W [x, sin(2πc_1 x), cos(2πc_1 x), …] + b) with c ~ N(0, σ²) at the start; W and b per feature.

    Source: Gorishniy, Rubachev & Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS
    2022, section 3.3.

    Args:
        fields: Numeric fields.
        width: Width d of a vector.
        frequencies: Number of frequencies per feature.
        sigma: Their initial standard deviation σ.

    Shapes: [B, F] → [B, F × d].

    Example:
        >>> Periodic([Field(name="price", kind="numeric")], 4)(torch.zeros(2, 1)).shape
        torch.Size([2, 4])
    """

    def __init__(self, fields: Sequence[Field], width: int, frequencies: int = 16, sigma: float = 0.1) -> None:
        super().__init__()
        count, inputs = len(fields), 2 * frequencies + 1
        # Vectors, not matrices: decay would draw frequencies to zero.
        self.frequencies = nn.Parameter(torch.randn(count * frequencies) * sigma)
        self.weight = nn.Parameter(torch.empty(count, inputs, width).uniform_(-(inputs**-0.5), inputs**-0.5))
        self.bias = nn.Parameter(torch.zeros(count * width))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors side by side."""
        value = x.unsqueeze(2)
        angle = 2 * math.pi * value * self.frequencies.view(x.shape[1], -1)
        seen = torch.cat([value, angle.sin(), angle.cos()], dim=2)
        return (torch.einsum("bfi,fid->bfd", seen, self.weight).flatten(1) + self.bias).relu()


NUMERIC_ENCODINGS: dict[str, Callable[[Sequence[Field], int], nn.Module] | None] = {
    "plain": None,
    "piecewise": PiecewiseLinear,
    "levels": Levels,
    "periodic": Periodic,
}
