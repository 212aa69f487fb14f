"""OneRank: task tokens that read the features through channels of their own."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.encoders.attention import AttentionBlock
from mtl_lightning.encoders.projection import FieldProjection
from mtl_lightning.interfaces import Bounds, Encoded, Encoder, MtlError, PositiveInt, Schema
from mtl_lightning.layers.batched import BatchedLinear


class TaskChannel(nn.Module):
    """Each task's token reads others through its own weights: r_t + attention_t(r_t, X_t), then r_t + FFN_t(r_t).

    Inputs of attention and FFN are normalised.

    Args:
        tasks: Number T of tasks.
        width: Width W of a token.
        heads: Attention heads; they divide the width.

    Shapes: task tokens [T, B, W], tokens to read [T, B, N, W], and allowed [T, N] bool or None → [T, B, W].

    Example:
        >>> TaskChannel(2, 4, 2)(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5, 4)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(self, tasks: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.outer = BatchedLinear(tasks, width, width), BatchedLinear(tasks, width, width)
        self.source = BatchedLinear(tasks, width, 2 * width)
        self.wide = BatchedLinear(tasks, width, 2 * width, activation="relu")
        self.narrow = BatchedLinear(tasks, 2 * width, width)

    def forward(self, tokens: Tensor, read: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Task tokens after reading."""
        tasks, rows, count, width = read.shape
        size = width // self.heads
        # Tasks and rows are one dimension, because ONNX knows attention with four.
        query = self.query(self.norm(tokens)).reshape(tasks * rows, self.heads, 1, size)
        source = self.source(self.norm(read).reshape(tasks, rows * count, width))
        key, value = source.reshape(tasks * rows, count, 2, self.heads, size).permute(2, 0, 3, 1, 4)
        mask = None
        if allowed is not None:
            mask = allowed.unsqueeze(1).expand(tasks, rows, count).reshape(tasks * rows, 1, 1, count)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self.outer(seen.reshape(tasks, rows, width))
        result: Tensor = tokens + self.narrow(functional.relu(self.wide(self.feed_norm(tokens))))
        return result


class OneRank(DenseArchitecture):
    """A learned token per task, which reads the features in every layer by weights of its own, and other tasks at last.

    - The features are N tokens of width W: a linear layer per field, or, for an encoder that mixes fields, ``parts``
      parts of neighbouring columns of z with a linear layer each.
    - A layer mixes them by self-attention, without regard to tasks. Each task's token then reads them by attention
      whose queries, keys, values and feed-forward network belong to the task.
    - At the end each task's token reads the others' once. It gets no gradient into them: another task's token changes
      what a task predicts, and a task's loss does not change another's token.

    Source: Tang et al., "OneRank: Unified Transformer-Native Ranking Architecture for Multi-Task Recommendation", 2026
    (arXiv:2606.16838): channels per task from the first layer on, and detached reads across tasks. Written from the
    paper's summary and the manual of TorchEasyRec. It is not the whole model:

    - The tokens are parts of z. With ``onetrans`` these have read the steps of histories; task tokens don't read steps
      themselves.
    - The paper's attention over all candidates of a request is left out: rows are scored on their own.
    - Heads predict from the tokens. The paper's score is an inner product, and it has a loss over a request's list.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        token_width: Width W of a token, which is also H.
        layers: Number of layers.
        attention_heads: Attention heads; they divide ``token_width``.
        parts: Tokens of an encoder whose fields have no slice of z.
        cascade: Whether a task reads its parents alone, not all other tasks.

    Shapes: z [B, D] → h_t [B, token_width].

    Raises:
        MtlError: If the heads don't divide ``token_width``, or z has fewer columns than ``parts``.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> OneRank(schema, encoder, token_width=8)(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    allowed: Tensor
    """Tasks that each task reads, itself included, [T, T] bool."""

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        token_width: Annotated[int, Bounds(ge=2)] = 32,
        layers: PositiveInt = 2,
        attention_heads: PositiveInt = 2,
        parts: PositiveInt = 8,
        cascade: bool = False,
    ) -> None:
        super().__init__(schema, encoder)
        if token_width % attention_heads:
            raise MtlError(f"architecture.attention_heads: {attention_heads} doesn't divide token_width {token_width}")
        tasks = len(self.tasks)
        self.tokens = FieldProjection(self.token_sizes(encoder, parts), token_width)
        self.task_tokens = nn.Parameter(torch.randn(tasks, token_width) * 0.05)
        self.mixers = nn.ModuleList(AttentionBlock(token_width, attention_heads) for _ in range(layers))
        self.channels = nn.ModuleList(TaskChannel(tasks, token_width, attention_heads) for _ in range(layers))
        self.exchange = TaskChannel(tasks, token_width, attention_heads) if tasks > 1 else None
        self.norm = nn.LayerNorm(token_width)
        parents = {task.name: task.parents for task in schema.tasks}
        readable = [[a == b or not cascade or b in parents[a] for b in self.tasks] for a in self.tasks]
        self.register_buffer("allowed", torch.tensor(readable), persistent=False)
        self.widths = dict.fromkeys(self.tasks, token_width)

    @staticmethod
    def token_sizes(encoder: Encoder, parts: int) -> list[int]:
        """Columns of z that each token is made of, in order."""
        if encoder.slices:
            sizes = [part.stop - part.start for part in encoder.slices.values()]
            copies: int = encoder.width // sum(sizes)
            return sizes * copies
        if encoder.width < parts:
            raise MtlError(
                f"architecture.parts: z has {encoder.width} columns, too few for {parts} tokens", "set fewer parts"
            )
        return [encoder.width // parts + (i < encoder.width % parts) for i in range(parts)]

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, token_width]."""
        tasks, width = self.task_tokens.shape
        rows = encoded.z.shape[0]
        x = self.tokens(encoded.z).unflatten(1, (-1, width))
        tokens = self.task_tokens.unsqueeze(1).expand(tasks, rows, width)
        for mixer, channel in zip(self.mixers, self.channels, strict=True):
            x = mixer(x)
            tokens = channel(tokens, x.unsqueeze(0).expand(tasks, *x.shape))
        if self.exchange is not None:
            others = tokens.detach().transpose(0, 1).unsqueeze(0)
            own = torch.eye(tasks, dtype=torch.bool, device=x.device).view(tasks, 1, tasks, 1)
            tokens = self.exchange(tokens, torch.where(own, tokens.unsqueeze(2), others), self.allowed)
        return dict(zip(self.tasks, self.norm(tokens).unbind(0), strict=True))
