"""RankMixer: tokens that exchange parts without weights, and an own network per token."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.batch import Auxiliary, Batch, Encoded
from mtl_lightning.bounds import Bounds, NonNegativeFloat, NonNegativeInt, PositiveInt, Sizes
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.encoders.projection import FieldProjection
from mtl_lightning.errors import MtlError
from mtl_lightning.layers.batched import BatchedLinear
from mtl_lightning.schema import Schema


class RankMixerBlock(nn.Module):
    """S = LN(mix(X) + X), then LN(FFN(S) + S) with an FFN per token.

    Token mixing cuts every token into as many parts as there are tokens. New token h is part h of all tokens, side by
    side. The FFN of token t is W₂ GELU(W₁ s_t + b₁) + b₂ with weights of its own; all of them are two batched products.

    Args:
        tokens: Number T of tokens.
        width: Width D of a token, a multiple of T.
        expansion: Width of an FFN's hidden layer divided by D.
        experts: Number E of FFNs per token that are gated; 0 for one FFN without a gate.

    Shapes: [T, B, D] → [T, B, D].

    Example:
        >>> import torch
        >>> block = RankMixerBlock(2, 4, expansion=3)
        >>> block(torch.zeros(2, 5, 4)).shape
        torch.Size([2, 5, 4])
        >>> block.mix(torch.arange(8.0).view(2, 1, 4)).tolist()
        [[[0.0, 1.0, 4.0, 5.0]], [[2.0, 3.0, 6.0, 7.0]]]
    """

    opened: Tensor | None = None
    """Sum of all gates of each row, [B], of the last forward pass in training; None without experts."""

    def __init__(self, tokens: int, width: int, *, expansion: int, experts: int = 0) -> None:
        super().__init__()
        self.experts, maps = experts, tokens * max(experts, 1)
        self.router = BatchedLinear(tokens, width, experts) if experts else None
        self.mixed_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            BatchedLinear(maps, width, expansion * width, activation="gelu"),
            nn.GELU(),
            BatchedLinear(maps, expansion * width, width),
        )

    def mix(self, x: Tensor) -> Tensor:
        """Exchange parts between tokens: a permutation of each row's values, [T, B, D] → [T, B, D]."""
        parts: Tensor = x.unflatten(2, (x.shape[0], -1))
        return parts.permute(2, 1, 0, 3).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens after mixing and their networks."""
        mixed: Tensor = self.mixed_norm(self.mix(x) + x)
        result: Tensor = self.norm(self.transform(mixed) + mixed)
        return result

    def transform(self, mixed: Tensor) -> Tensor:
        """The token's FFN, or the sum of its experts by their gates, [T, B, D] → [T, B, D]."""
        if self.router is None:
            plain: Tensor = self.feed_forward(mixed)
            return plain
        gates: Tensor = self.router(mixed).relu()
        if self.training and torch.is_grad_enabled():
            self.opened = gates.sum((0, 2))
        outputs: Tensor = self.feed_forward(mixed.repeat_interleave(self.experts, 0)).unflatten(0, (-1, self.experts))
        return (outputs * gates.transpose(1, 2).unsqueeze(3)).sum(1)


class RankMixerEncoder(EmbeddingEncoder):
    """Tokens of equally many columns, mixed without weights, each with its own feed-forward network.

    - Tokens: z of ``embedding`` is cut into T parts of neighbouring columns, and a linear layer per part maps it to D
      columns.
    - Block: S = LN(mix(X) + X), X' = LN(FFN(S) + S). The mixing gives new token h the part h of every token, and each
      token's FFN has its own weights.
    - z is the mean of the last block's tokens, so no field has a slice of z.

    With ``experts`` E the FFN of a token is Σ_j G_j FFN_j(s), with G = ReLU(W s + b) of the token's own router (the
    paper's ReLU routing). ``sparsity`` · Σ G, over blocks, tokens and experts, is added to the objective per row, so
    that gates close. All experts are computed for all rows, and closed ones are multiplied by 0, which saves no time.

    Source: Zhu et al., "RankMixer: Scaling Up Ranking Models in Industrial Recommenders", CIKM 2025.
    Where the paper leaves freedom, or needs knowledge of the data:

    - The paper groups fields by meaning. Here they have the order of ``embedding``: categorical fields, sequences,
      histories, numbers, vectors, each in the recipe's order.
    - Where T does not divide the columns, the first tokens have one column more than the others.
    - One scale and shift of a normalisation serve all tokens.
    - Of the sparse mixture ReLU routing is implemented, with one router and a fixed factor. Dense training with a
      second router for inference is left out, as is a factor that follows a budget of open gates.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        tokens: Number T of tokens, which is also the number of parts of a token; it divides ``token_width``.
        token_width: Width D of a token.
        blocks: Number of blocks.
        expansion: Width of an FFN's hidden layer divided by D.
        experts: Number E of gated FFNs per token; 0 for one without a gate.
        sparsity: Factor of the sum of gates in the objective.
        options: Options of :class:`EmbeddingEncoder`.

    Shapes: z [B, copies × token_width], or [B, hidden[-1]].

    Raises:
        MtlError: If T does not divide D, or there are fewer columns than tokens.

    Example:
        >>> import torch
        >>> from mtl_lightning.batch import Batch
        >>> from mtl_lightning.schema import Field
        >>> fields = (Field(name="user", kind="categorical", size=9, table="user"), Field(name="price", kind="numeric"))
        >>> batch = Batch(schema=Schema(fields, ()), ids=torch.tensor([[3], [4]]), dense=torch.ones(2, 1),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool))
        >>> RankMixerEncoder(batch.schema, 1, width=4, tokens=4, token_width=12)(batch).z.shape
        torch.Size([2, 12])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        hidden: Sizes = (),
        tokens: PositiveInt = 8,
        token_width: Annotated[int, Bounds(ge=2)] = 64,
        blocks: PositiveInt = 2,
        expansion: PositiveInt = 4,
        experts: NonNegativeInt = 0,
        sparsity: NonNegativeFloat = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        if token_width % tokens:
            raise MtlError(f"encoder.tokens: {tokens} doesn't divide token_width {token_width}")
        self.mix(token_width, hidden)
        columns = self.fields_width
        if columns < tokens:
            raise MtlError(
                f"encoder.tokens: the fields have {columns} columns, too few for {tokens} tokens",
                "set fewer tokens or a larger width",
            )
        self.count = tokens
        sizes = [columns // tokens + (i < columns % tokens) for i in range(tokens)]
        self.tokens = nn.ModuleList(FieldProjection(sizes, token_width) for _ in range(copies))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(RankMixerBlock(tokens, token_width, expansion=expansion, experts=experts) for _ in range(blocks))
            )
            for _ in range(copies)
        )
        self.sparsity = sparsity

    @override
    def forward(self, batch: Batch) -> Encoded:
        encoded = super().forward(batch)
        mixers = [block for block in self.blocks.modules() if isinstance(block, RankMixerBlock)]
        opened = [block.opened for block in mixers if block.opened is not None]
        for block in mixers:  # copies of a module cannot hold a graph
            block.opened = None
        if opened and self.sparsity:
            self.auxiliary = {"open_gates": Auxiliary(torch.stack(opened).sum(0), self.sparsity)}
        return encoded

    def interact(self, part: Tensor, copy: int) -> Tensor:
        """The mean of the tokens, [B, D / copies]."""
        x: Tensor = self.tokens[copy](part).unflatten(1, (self.count, -1)).transpose(0, 1)
        x = self.blocks[copy](x)
        return x.mean(0)
