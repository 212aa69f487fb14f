"""HSTU: pointwise attention with biases of place and time, and gated outputs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.batch import Steps
from mtl_lightning.bounds import NonNegativeFloat, PositiveInt
from mtl_lightning.encoders.next_action import NextActionEncoder
from mtl_lightning.errors import MtlError
from mtl_lightning.schema import Field, Schema

TIME_BUCKETS = 128
TIME_SCALE = 0.301
"""Width of a time bucket in the natural logarithm of the time: times in one bucket differ by at most 35 %."""


def time_buckets(times: Tensor) -> Tensor:
    """Bucket ⌊ln(max(1, t)) / 0.301⌋ of each time, at most 127, int64 of the same shape.

    Example:
        >>> time_buckets(torch.tensor([0.0, 1.0, 60.0, 86400.0])).tolist()
        [0, 0, 13, 37]
    """
    return (times.clamp(min=1).log() / TIME_SCALE).floor().clamp(max=TIME_BUCKETS - 1).long()


class HSTULayer(nn.Module):
    """x + f₂(norm(A V) ⊙ U), with [U, V, Q, K] = SiLU(f₁(norm(x))) and A = SiLU(Q Kᵀ + b_place + b_time).

    A has no softmax: the amount of matching events is kept until the normalisation. Weights of tokens that must not be
    attended to are zero.

    Args:
        width: Width D of a token.
        heads: Attention heads; they divide the width.
        places: Number of distances between tokens.
        timed: Whether tokens have times.

    Shapes: tokens [B, N, D], distances [B, M, N] int64, time buckets [B, M, N] int64 or None, allowed [B, M, N] bool →
        the first M tokens, [B, M, D].

    Raises:
        MtlError: If the width is not a multiple of the heads.

    Example:
        >>> layer = HSTULayer(4, 2, places=3, timed=False)
        >>> distances = torch.zeros(1, 1, 3, dtype=torch.int64)
        >>> layer(torch.zeros(1, 3, 4), distances, None, distances == 0).shape
        torch.Size([1, 1, 4])
    """

    def __init__(self, width: int, heads: int, *, places: int, timed: bool) -> None:
        super().__init__()
        if width % heads:
            raise MtlError(f"encoder.attention_heads: {heads} doesn't divide the width {width}")
        self.heads = heads
        self.norm, self.attended_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(width, width)
        # Flat, so that weight decay leaves them alone.
        self.place_bias = nn.Parameter(torch.randn(places) * 0.02)
        self.time_bias = nn.Parameter(torch.randn(TIME_BUCKETS) * 0.02) if timed else None

    def forward(self, x: Tensor, distances: Tensor, buckets: Tensor | None, allowed: Tensor) -> Tensor:
        """The first M tokens after attention to all allowed ones."""
        first = allowed.shape[1]
        gate, value, query, key = functional.silu(self.inner(self.norm(x))).chunk(4, dim=2)
        bias = self.place_bias[distances]
        if self.time_bias is not None and buckets is not None:
            bias = bias + self.time_bias[buckets]
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query[:, :first], key, value)
        )
        weights = functional.silu(queries @ keys.transpose(2, 3) + bias.unsqueeze(1))
        attended = torch.where(allowed.unsqueeze(1), weights, 0.0) @ values
        gated = self.attended_norm(attended.transpose(1, 2).flatten(2)) * gate[:, :first]
        result: Tensor = x[:, :first] + self.outer(gated)
        return result


class HSTUEncoder(NextActionEncoder):
    """Hierarchical sequential transduction units over a sequence or history and the item at hand.

    The tokens are the steps and, after the last one, the target: the sum of the categorical fields whose tables the
    steps' ids share, or a learned token where there is none. Each token attends to itself and earlier ones. A layer
    computes

    - [U, V, Q, K] = SiLU(f₁(norm(x))),
    - A = SiLU(Q Kᵀ + b[i − j] + b'[bucket of t_i − t_j]),
    - x + f₂(norm(A V) ⊙ U).

    The last layer is computed for the target alone (for all tokens in training with ``next_action``), whose token
    represents the whole. Distances i − j are numbers of steps; steps that ``step_dropout`` removes leave their places
    empty. Times are known for histories with ``gap``, and the target has the row's time.

    Source: Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
    Recommendations", ICML 2024, equations 1 to 3, with the target in the sequence as in its ranking model. Where the
    paper leaves freedom:

    - The layer's input is normalised and added to its output. Normalisations are layer normalisations with scale and
      shift; biases of place and time are shared by the heads. Buckets of time are as in the authors' code.
    - Actions are part of an event's vector (``with`` of a history), not tokens between the items.
    - One row is one target, and stochastic length and fused kernels are left out. With ``next_action`` all positions of
      a history are trained at once, by the loss of the next event that the paper's retrieval model has.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        layers: Number of layers.
        attention_heads: Attention heads; they divide ``width``.
        options: Options of :class:`~mtl_lightning.encoders.next_action.NextActionEncoder`.

    Shapes: z as of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`.

    Example:
        >>> from mtl_lightning.batch import Batch
        >>> item = Field(name="item", kind="categorical", size=9, table="item")
        >>> history = Field(name="history", kind="sequence", size=9, table="item", length=3)
        >>> schema = Schema((item, history), ())
        >>> batch = Batch(schema=schema, ids=torch.tensor([[3], [4]]), dense=torch.zeros(2, 0),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool),
        ...               sequences={"history": torch.tensor([[3, 5, 0], [0, 0, 0]])})
        >>> HSTUEncoder(schema, 1, width=4)(batch).z.shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        init_scale: NonNegativeFloat = 0.05,
        layers: PositiveInt = 2,
        attention_heads: PositiveInt = 2,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, init_scale=init_scale, **options)
        self.add_readers(init_scale)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                HSTULayer(self.embedding_width, attention_heads, places=field.length + 1, timed=field.gap)
                for _ in range(layers)
            )
            for _ in range(copies)
            for field in self.behaviours
        )

    @override
    def pool(self, field: Field, steps: Tensor, known: Tensor, others: Tensor, copy: int) -> Tensor:
        return self.transduce(field, steps, known, None, others, copy)

    @override
    def pool_history(
        self, field: Field, vectors: Tensor, steps: Steps, known: Tensor, others: Tensor, copy: int
    ) -> Tensor:
        return self.transduce(field, vectors, known, steps.gap, others, copy)

    def transduce(
        self, field: Field, steps: Tensor, known: Tensor, gap: Tensor | None, others: Tensor, copy: int
    ) -> Tensor:
        """The target's token after the layers, [B, width].

        Args:
            field: The sequence or history.
            steps: Vectors of its steps, [B, L, width].
            known: Steps that count, [B, L] bool.
            gap: Time from each step to the row, [B, L], or None.
            others: Embeddings of the categorical fields, [B, C × width].
            copy: Number of the table set.
        """
        # The target is the first token of the tensor and the last in time: padding is at the end of the steps.
        x = torch.cat([self.target_or_reader(field, others, copy).unsqueeze(1), steps], dim=1)
        counted = torch.arange(1, steps.shape[1] + 1, device=steps.device)
        places = counted.expand_as(known)
        last = torch.where(known, places, 0).amax(1, keepdim=True) + 1
        places, attended = torch.cat([last, places], dim=1), torch.cat([torch.ones_like(last).bool(), known], dim=1)
        distances = places.unsqueeze(2) - places.unsqueeze(1)
        allowed = (distances >= 0) & attended.unsqueeze(1)
        distances = distances.clamp(0, field.length)
        buckets = None
        if gap is not None:
            before = torch.cat([torch.zeros_like(gap[:, :1]), gap], dim=1)
            buckets = time_buckets(before.unsqueeze(1) - before.unsqueeze(2))
        layers = self.layers[self.number(field, copy)]
        assert isinstance(layers, nn.ModuleList)
        for layer in layers[:-1]:
            x = layer(x, distances, buckets, allowed)
        if self.predicts:
            x = layers[-1](x, distances, buckets, allowed)
            self.predict_next(field, copy, x[:, 1:], known)
        else:
            x = layers[-1](x, distances[:, :1], None if buckets is None else buckets[:, :1], allowed[:, :1])
        token: Tensor = x[:, 0]
        return token
