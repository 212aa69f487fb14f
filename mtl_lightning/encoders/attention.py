"""Self-attention over a few tokens: fields, or the steps of a sequence or history."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.errors import MtlError
from mtl_lightning.schema import Field


def targets(categorical: Sequence[Field], behaviours: Sequence[Field]) -> dict[str, tuple[str, ...]]:
    """The fields at hand of each sequence or history that has any: categorical fields whose tables it shares.

    Of several fields with one table the first counts; a history has a field for each of its ids that share one.

    Args:
        categorical: Categorical fields.
        behaviours: Sequences and histories.

    Example:
        >>> item = Field(name="item", kind="categorical", size=9, table="item")
        >>> targets([item], [Field(name="seen", kind="sequence", size=9, table="item", length=3)])
        {'seen': ('item',)}
    """
    names = {field.table: field.name for field in reversed(categorical)}
    carried = {field.name: field.steps_of_kind("categorical") or (field,) for field in behaviours}
    shared = {
        name: tuple(names[part.table] for part in parts if part.table in names) for name, parts in carried.items()
    }
    return {name: fields for name, fields in shared.items() if fields}


def sum_of(parts: Iterable[Tensor]) -> Tensor:
    """Sum of one tensor or several."""
    return reduce(torch.add, parts)


class AttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + FFN(norm(x)).

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017; normalisation first as in Xiong et al., "On
    Layer Normalization in the Transformer Architecture", ICML 2020.

    Args:
        width: Width of a token.
        heads: Attention heads; they divide the width.
        feed_forward: Width of the FFN's hidden layer; 0 for no FFN.

    Shapes: tokens [B, N, width] and known [B, N] bool (or None), or [B, N, N] where what a token reads depends on the
        token → [B, N, width].

    Raises:
        MtlError: If the width is not a multiple of the heads.

    Example:
        >>> import torch
        >>> AttentionBlock(4, 2)(torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(self, width: int, heads: int, feed_forward: int | None = None) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise MtlError(f"encoder.attention_heads: {heads} doesn't divide the width {width}")
        self.heads = heads
        size = 2 * width if feed_forward is None else feed_forward
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 3 * width)
        self.outer = nn.Linear(width, width)
        self.feed_forward: nn.Sequential | None = None
        if size:
            self.feed_forward = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, size), nn.ReLU(), nn.Linear(size, width)
            )

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Tokens after attention to the known ones."""
        query, key, value = self.project(x)
        return self.attend(x, query, key, value, known)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of tokens, [3, B, heads, N, width / heads]."""
        parts: Tensor = self.inner(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return parts

    def attend(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, known: Tensor | None) -> Tensor:
        """Tokens [B, N, width] with these queries after attention to M tokens, known [B, M] or [B, N, M]."""
        mask = None if known is None else known[:, None, None, :] if known.dim() == 2 else known.unsqueeze(1)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._finish(x, seen.transpose(1, 2).flatten(2))

    def attend_once(self, x: Tensor, own: Tensor, key: Tensor, value: Tensor, known: Tensor, seats: "Seats") -> Tensor:
        """Tokens [B, 1, width] after attention to themselves and to the tokens of their request.

        The same as :meth:`attend` with keys and values of the request repeated for each row, which are not repeated.

        Args:
            x: A token per row, [B, 1, width].
            own: Its query, key and value, [3, B, heads, 1, width / heads].
            key: Keys of M tokens per request, [R, heads, M, width / heads].
            value: Their values, of the same shape.
            known: Tokens that count, [R, M] bool.
            seats: Places of the rows in their requests.
        """
        query, own_key, own_value = (seats.pack(part[:, :, 0]) for part in own)
        scores = (query @ key.transpose(2, 3)).masked_fill(~known[:, None, None, :], -torch.inf)
        both = torch.cat([(query * own_key).sum(3, keepdim=True), scores], dim=3) / query.shape[3] ** 0.5
        shares = both.softmax(3)
        seen = shares[..., :1] * own_value + shares[..., 1:] @ value
        return self._finish(x, seats.unpack(seen).unsqueeze(1))

    def _finish(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + cast(Tensor, self.outer(seen))
        return x if self.feed_forward is None else x + cast(Tensor, self.feed_forward(x))


@dataclass(frozen=True)
class Seats:
    """Places of the rows of a batch in their requests, each of which has the same number of seats.

    Args:
        place: Seat of each row, counted over all requests, [B].
        requests: Number of requests, R.
        size: Number of seats of a request.

    Example:
        >>> seats = Seats.of(torch.tensor([0, 1, 1]), 2)
        >>> seats.place.tolist(), seats.size
        ([0, 2, 3], 2)
        >>> seats.unpack(seats.pack(torch.arange(3.0).reshape(3, 1, 1))).tolist()
        [[0.0], [1.0], [2.0]]
    """

    place: Tensor
    requests: int
    size: int

    @classmethod
    def of(cls, request: Tensor, requests: int) -> "Seats | None":
        """Seats of rows by the number of their request, [B]; None where they aren't worth it.

        They aren't if more than three of four seats stay empty, on a GPU, whose host would have to wait for the
        number of seats, and in graphs, where it must not depend on values.
        """
        if request.device.type != "cpu" or torch.compiler.is_compiling():
            return None
        count = torch.bincount(request, minlength=requests)
        size = int(count.max()) if len(request) else 1
        if requests * size > 4 * len(request):
            return None
        order = request.argsort(stable=True)
        first = count.cumsum(0) - count
        seat = torch.empty_like(request)
        seat[order] = torch.arange(len(request)) - first[request[order]]
        return cls(request * size + seat, requests, size)

    def pack(self, rows: Tensor) -> Tensor:
        """Rows [B, heads, d] by request and seat, [R, heads, seats, d]; empty seats have zeros."""
        seats = rows.new_zeros(self.requests * self.size, *rows.shape[1:]).index_copy(0, self.place, rows)
        packed: Tensor = seats.unflatten(0, (self.requests, self.size)).transpose(1, 2)
        return packed

    def unpack(self, seats: Tensor) -> Tensor:
        """Rows of packed values, [B, heads · d]."""
        return seats.transpose(1, 2).flatten(0, 1).flatten(1).index_select(0, self.place)
