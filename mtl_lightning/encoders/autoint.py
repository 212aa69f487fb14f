"""Self-attention over fields."""

from typing import Any

import torch
from torch import Tensor, nn

from mtl_lightning.bounds import NonNegativeInt, PositiveInt, Sizes
from mtl_lightning.encoders.attention import AttentionBlock
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.encoders.projection import slices_of
from mtl_lightning.errors import MtlError
from mtl_lightning.schema import Schema


class AutoIntEncoder(EmbeddingEncoder):
    """Self-attention over fields, which learns combinations of any order with interpretable weights.

    Every categorical field, sequence and numeric field is a token. Numeric fields enter as piecewise linear or periodic
    vectors. A linear layer maps every ``plain`` numeric, every vector, and every token of another width to a token.
    Tokens keep their position in z, so a field keeps its slice.

    Source: Song et al., "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks", CIKM
    2019. The layers here follow later transformers. They normalise first, scale products by 1/√(width of a head)
    and project the output; the residual is x itself, where the paper has ReLU(attention + W x).

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        attention_layers: Number of attention layers.
        attention_heads: Attention heads; they divide ``width``.
        options: Options of :class:`EmbeddingEncoder`.

    Shapes: z [B, copies × fields × width], or [B, hidden[-1]].

    Example:
        >>> from mtl_lightning.batch import Batch
        >>> from mtl_lightning.schema import Field
        >>> fields = (Field(name="user", kind="categorical", size=9, table="user"), Field(name="price", kind="numeric"))
        >>> batch = Batch(schema=Schema(fields, ()), ids=torch.tensor([[3], [4]]), dense=torch.ones(2, 1),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool))
        >>> AutoIntEncoder(batch.schema, 1, width=4)(batch).z.shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        hidden: Sizes = (),
        attention_layers: NonNegativeInt = 2,
        attention_heads: PositiveInt = 2,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        width = self.embedding_width
        tokens = {name: part.stop - part.start for name, part in self.field_slices.items()}
        if not tokens:
            raise MtlError("encoder: autoint needs features")
        # These have no learned layer yet; without one each, all of them would share the attention's maps alone.
        unmapped = {field.name for field in (*self.vectors, *(() if self.numeric else schema.of_kind("numeric")))}
        unmapped = set() if self.projections else unmapped
        self.tokens = nn.ModuleDict(
            {
                f"token_{copy}_{i}": nn.Linear(size, width)
                for copy in range(copies)
                for i, (name, size) in enumerate(tokens.items())
                if size != width or name in unmapped
            }
        )
        self.parts = list(tokens.values())
        self.layers = nn.ModuleList(
            nn.Sequential(*(AttentionBlock(width, attention_heads, 0) for _ in range(attention_layers)))
            for _ in range(copies)
        )
        # Tokens are as wide as embeddings, so z has another width than the fields side by side.
        self.mix(len(tokens) * width, hidden)
        if not hidden:
            self.slices = slices_of(dict.fromkeys(tokens, width))

    def interact(self, part: Tensor, copy: int) -> Tensor:
        """The tokens after attention, side by side."""
        pieces = part.split(self.parts, dim=1)
        tokens = [
            self.tokens[name](piece) if (name := f"token_{copy}_{i}") in self.tokens else piece
            for i, piece in enumerate(pieces)
        ]
        x: Tensor = self.layers[copy](torch.stack(tokens, dim=1))
        return x.flatten(1)
