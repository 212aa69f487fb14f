"""Self-attention over a few tokens: fields, or the steps of a sequence or history."""

from collections.abc import Iterable, Sequence
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
        x = x + self.outer(seen.transpose(1, 2).flatten(2))
        return x if self.feed_forward is None else x + cast(Tensor, self.feed_forward(x))
