"""OneTrans: one causal transformer over steps and fields."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.batch import Batch
from mtl_lightning.bounds import Bounds, NonNegativeFloat, PositiveInt, Sizes
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.errors import MtlError
from mtl_lightning.layers.batched import BatchedLinear
from mtl_lightning.schema import Schema


class MixedLinear(nn.Module):
    """One linear map for all step tokens, and a map of its own for each field token.

    Args:
        fields: Number F of field tokens, the last ones.
        in_width: Width of the input.
        out_width: Width of the output.
        steps: Whether there are step tokens.

    Shapes: [B, S + F, in_width] → [B, S + F, out_width].

    Example:
        >>> MixedLinear(2, 4, 3)(torch.zeros(5, 7, 4)).shape
        torch.Size([5, 7, 3])
    """

    def __init__(self, fields: int, in_width: int, out_width: int, *, steps: bool = True) -> None:
        super().__init__()
        self.fields = fields
        self.steps_map = nn.Linear(in_width, out_width) if steps else None
        self.fields_map = BatchedLinear(fields, in_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        """Mapped tokens."""
        steps = x.shape[1] - self.fields
        own = self.fields_map(x[:, steps:].transpose(0, 1)).transpose(0, 1)
        return own if self.steps_map is None else torch.cat([self.steps_map(x[:, :steps]), own], dim=1)


class OneTransBlock(nn.Module):
    """x + attention(norm(x)), then x + FFN(norm(x)), both with the weights of :class:`MixedLinear`.

    Args:
        fields: Number F of field tokens.
        width: Width D of a token.
        heads: Attention heads; they divide the width.
        expansion: Width of an FFN's hidden layer divided by D.
        reads_steps: Whether there are step tokens.
        passes_steps: Whether some of them are among the last M tokens.

    Shapes: tokens [B, N, D] and allowed [B, M, N] bool → the last M tokens, [B, M, D]; M is at least F.

    Example:
        >>> block = OneTransBlock(2, 4, 2, expansion=2, reads_steps=True, passes_steps=False)
        >>> block(torch.zeros(3, 6, 4), torch.ones(3, 2, 6, dtype=torch.bool)).shape
        torch.Size([3, 2, 4])
    """

    def __init__(
        self, fields: int, width: int, heads: int, *, expansion: int, reads_steps: bool, passes_steps: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.feed_norm = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.inner = MixedLinear(fields, width, 3 * width, steps=reads_steps)
        self.outer = MixedLinear(fields, width, width, steps=passes_steps)
        self.wide = MixedLinear(fields, width, expansion * width, steps=passes_steps)
        self.narrow = MixedLinear(fields, expansion * width, width, steps=passes_steps)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """The last M tokens after attention to the allowed ones."""
        count = allowed.shape[1]
        first = x.shape[1] - count
        query, key, value = self.inner(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query[:, :, first:], key, value, attn_mask=allowed.unsqueeze(1))
        x = x[:, first:] + self.outer(seen.transpose(1, 2).flatten(2))
        result: Tensor = x + self.narrow(functional.gelu(self.wide(self.feed_norm(x))))
        return result


class OneTransEncoder(EmbeddingEncoder):
    """One transformer in which fields read steps and each other.

    - Step tokens: the steps of all sequences and histories, in the recipe's order with a learned separator between two
      of them. A linear layer per sequence maps a step's vector and adds a learned vector of its place, counted back
      from the latest step.
    - Field tokens: categorical fields, numbers and vectors side by side, mapped by one linear layer and cut into
      ``tokens`` parts.
    - Each token attends to itself and earlier ones; fields follow steps, so steps don't depend on the item at hand.
    - Step tokens share their projections and feed-forward networks; each field token has its own.
    - With ``pyramid`` fewer and fewer of the latest steps are passed on by a layer, and in the last one none.

    z consists of the last layer's field tokens side by side, after a normalisation, so no field has a slice of z.

    Source: Zhang et al., "OneTrans: Unified Feature Interaction and Sequence Modeling with One Transformer in
    Industrial Recommender", WWW 2026 (arXiv:2510.26104): the tokeniser that splits automatically, sequences one after
    the other, mixed parameters, causal attention and the pyramid. Where the paper leaves freedom:

    - The numbers of steps that layers pass on fall linearly, in relation to the full length of the histories.
    - The output of the attention is mapped with mixed weights, too; the activation is GELU.
    - Several sequences are not interleaved by time. The cache of keys and values between requests is not part of this
      encoder.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        tokens: Number of field tokens.
        token_width: Width D of a token.
        blocks: Number of layers.
        attention_heads: Attention heads; they divide ``token_width``.
        expansion: Width of an FFN's hidden layer divided by D.
        pyramid: Whether layers pass on fewer and fewer steps; without it only the last layer leaves them out.
        options: Options of :class:`EmbeddingEncoder`; ``pooling`` has no effect.

    Shapes: z [B, copies × tokens × token_width], or [B, hidden[-1]].

    Raises:
        MtlError: If the heads don't divide ``token_width``, or there are no fields.

    Example:
        >>> from mtl_lightning.testing import example_batch, example_schema
        >>> schema = example_schema(kinds=["categorical", "numeric", "history"])
        >>> OneTransEncoder(schema, 1, width=4, tokens=2, token_width=8)(example_batch(schema, rows=3)).z.shape
        torch.Size([3, 16])
    """

    reads_requests = False

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        hidden: Sizes = (),
        init_scale: NonNegativeFloat = 0.05,
        tokens: PositiveInt = 4,
        token_width: Annotated[int, Bounds(ge=2)] = 32,
        blocks: PositiveInt = 2,
        attention_heads: PositiveInt = 2,
        expansion: PositiveInt = 2,
        pyramid: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, init_scale=init_scale, **options)
        if token_width % attention_heads:
            raise MtlError(f"encoder.attention_heads: {attention_heads} doesn't divide token_width {token_width}")
        self.mix(tokens * token_width, hidden)
        self.count, self.pyramid = tokens, pyramid
        behaviours = (*self.sequences, *self.histories)
        self.longest = sum(field.length for field in behaviours) + max(len(behaviours) - 1, 0)
        columns = self.fields_width
        self.field_bias = nn.ParameterList(nn.Parameter(torch.zeros(tokens * token_width)) for _ in range(copies))
        self.split = nn.ModuleList(
            nn.Linear(columns, tokens * token_width, bias=False) for _ in range(copies if columns else 0)
        )
        self.step_maps = nn.ModuleList(
            nn.Linear(self.embedding_width, token_width) for _ in range(copies * len(behaviours))
        )
        self.places = nn.ParameterList(
            nn.Parameter(torch.randn(field.length, token_width) * init_scale)
            for _ in range(copies)
            for field in behaviours
        )
        self.separators = nn.ParameterList(
            nn.Parameter(torch.randn(token_width) * init_scale) for _ in range(copies * max(len(behaviours) - 1, 0))
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                OneTransBlock(
                    tokens,
                    token_width,
                    attention_heads,
                    expansion=expansion,
                    reads_steps=bool(behaviours),
                    passes_steps=bool(behaviours) and i < blocks - 1,
                )
                for i in range(blocks)
            )
            for _ in range(copies)
        )
        self.norms = nn.ModuleList(nn.RMSNorm(token_width, eps=1e-6) for _ in range(copies))

    @override
    def arrange(self, sizes: Mapping[str, int], hidden: Sequence[int]) -> None:
        behaviours = {field.name for field in (*self.sequences, *self.histories)}
        super().arrange({name: size for name, size in sizes.items() if name not in behaviours}, hidden)

    def step_tokens(
        self, listed: Sequence[Tensor], known: Mapping[str, Tensor], copy: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens of all sequences and the separators between them, [B, L, D], and whether they count, [B, L]."""
        tokens: list[Tensor] = []
        counted: list[Tensor] = []
        behaviours = (*self.sequences, *self.histories)
        for i, (field, steps) in enumerate(zip(behaviours, listed, strict=True)):
            present, number = known[field.name], copy * len(behaviours) + i
            if i:
                separator = self.separators[copy * (len(behaviours) - 1) + i - 1]
                tokens.append(separator.expand(steps.shape[0], 1, -1))
                counted.append(torch.ones_like(present[:, :1]))
            places = torch.arange(steps.shape[1], device=steps.device)
            latest = torch.where(present, places, 0).amax(1, keepdim=True)
            tokens.append(self.step_maps[number](steps) + self.places[number][(latest - places).clamp(min=0)])
            counted.append(present)
        return tokens, counted

    @override
    def combine(
        self,
        ids: Tensor,
        listed: Sequence[Tensor],
        others: Sequence[Tensor],
        batch: Batch,
        known: Mapping[str, Tensor],
        copy: int,
    ) -> Tensor:
        bias = self.field_bias[copy]
        fields = bias.expand(batch.ids.shape[0], -1)
        if len(self.split):
            part = self.projected(torch.cat([self.drop_units(ids), *others], dim=1), copy)
            fields = self.split[copy](part) + bias
        fields = fields.unflatten(1, (self.count, -1))
        tokens, counted = self.step_tokens([self.drop_units(steps) for steps in listed], known, copy)
        if not tokens:
            return self.transform(fields[:, :0], fields, torch.zeros_like(fields[:, :0, 0], dtype=torch.bool), copy)
        steps, present = torch.cat(tokens, dim=1), torch.cat(counted, dim=1)
        # Known tokens move to the end, in their order, so that the latest ones are the last whatever the padding.
        places = torch.arange(steps.shape[1], device=steps.device)
        order = (present.long() * steps.shape[1] + places).topk(steps.shape[1], dim=1).indices.flip(1)
        steps = steps.gather(1, order.unsqueeze(2).expand(-1, -1, steps.shape[2]))
        return self.transform(steps, fields, present.gather(1, order), copy)

    def transform(self, steps: Tensor, fields: Tensor, known: Tensor, copy: int) -> Tensor:
        """The last layer's field tokens side by side, [B, tokens × D].

        Args:
            steps: Step tokens, [B, S, D].
            fields: Field tokens, [B, tokens, D].
            known: Step tokens that count, [B, S] bool, the known ones last.
            copy: Number of the table set.
        """
        x = torch.cat([steps, fields], dim=1)
        known = torch.cat([known, torch.ones_like(fields[:, :, 0], dtype=torch.bool)], dim=1)
        layers = self.blocks[copy]
        assert isinstance(layers, nn.ModuleList)
        for i, layer in enumerate(layers, start=1):
            passed = 0 if i == len(layers) else self.longest
            if self.pyramid:
                passed = -(-self.longest * (len(layers) - i) // len(layers))
            total = x.shape[1]
            count = min(passed, total - self.count) + self.count
            places = torch.arange(total, device=x.device)
            own = places == places[total - count :].unsqueeze(1)
            earlier = places <= places[total - count :].unsqueeze(1)
            # Tokens that don't count attend to themselves, so that no row of the attention is empty.
            x = layer(x, (earlier & known.unsqueeze(1)) | own)
            known = known[:, total - count :]
        result: Tensor = self.norms[copy](x).flatten(1)
        return result
