"""A transformer over sequences and histories."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.batch import Batch
from mtl_lightning.bounds import NonNegativeFloat, PositiveInt
from mtl_lightning.encoders.attention import AttentionBlock, Seats
from mtl_lightning.encoders.next_action import NextActionEncoder
from mtl_lightning.schema import Field, Schema


class TransformerEncoder(NextActionEncoder):
    """Self-attention over a sequence or history and the item at hand; the item's place is read out.

    The tokens are the target, then the steps. The target is the categorical field whose table a sequence shares; of a
    history, the sum of the fields whose tables its ids share; where there is none, a learned token. Steps are the
    embeddings of a sequence, or the sums of what a history's events carry. Each has a learned embedding of its place,
    counted back from the latest: 1 for the last step that is known, whatever the length of the history (steps that
    ``step_dropout`` removes are unknown). After the blocks, the first token represents the whole.

    - With ``late_target`` steps don't attend to the target, which attends to all. A history that is constant within a
      request (``data.request``) then passes through the blocks once per request, the target once per row.
    - With ``next_action``, steps attend to themselves and earlier steps only, in predictions as well, and the target is
      late.

    Source: Chen et al., "Behavior Sequence Transformer for E-commerce Recommendation in Alibaba", DLP-KDD 2019. There
    positions are times before the target. Here they are numbers of steps, normalisation precedes each block, and a
    single token is the output.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        blocks: Number of blocks.
        attention_heads: Attention heads; they divide ``width``.
        late_target: Whether steps attend to steps only.
        options: Options of :class:`~mtl_lightning.encoders.next_action.NextActionEncoder`.

    Shapes: z as of :class:`EmbeddingEncoder`.

    Example:
        >>> from mtl_lightning.batch import Batch
        >>> item = Field(name="item", kind="categorical", size=9, table="item")
        >>> history = Field(name="history", kind="sequence", size=9, table="item", length=3)
        >>> schema = Schema((item, history), ())
        >>> batch = Batch(schema=schema, ids=torch.tensor([[3], [4]]), dense=torch.zeros(2, 0),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool),
        ...               sequences={"history": torch.tensor([[3, 5, 0], [0, 0, 0]])})
        >>> TransformerEncoder(schema, 1, width=4)(batch).z.shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        init_scale: NonNegativeFloat = 0.05,
        blocks: PositiveInt = 1,
        attention_heads: PositiveInt = 2,
        late_target: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, init_scale=init_scale, **options)
        self.late = late_target or bool(self.next_action)
        width = self.embedding_width
        self.places = nn.ParameterList(
            nn.Parameter(torch.randn(field.length + 1, width) * init_scale)
            for _ in range(copies)
            for field in self.behaviours
        )
        self.add_readers(init_scale)
        self.blocks = nn.ModuleList(
            nn.ModuleList(AttentionBlock(width, attention_heads) for _ in range(blocks))
            for _ in range(copies * len(self.behaviours))
        )

    @override
    def encodes_once(self, field: Field) -> bool:
        return self.late or super().encodes_once(field)

    @override
    def pool_rows(
        self, field: Field, vectors: Tensor, batch: Batch, known: Tensor, others: Tensor, copy: int
    ) -> Tensor:
        if not self.late or batch.request is None or not field.per_request or field.name not in self.targets:
            return super().pool_rows(field, vectors, batch, known, others, copy)
        return self.read_late(field, vectors, known, self.target_or_reader(field, others, copy), batch.request, copy)

    def pool(self, field: Field, steps: Tensor, known: Tensor, others: Tensor, copy: int) -> Tensor:
        """The first token after the blocks, [B, width]."""
        number = self.number(field, copy)
        first = self.target_or_reader(field, others, copy)
        if self.late:
            return self.read_late(field, steps, known, first, None, copy)
        x = torch.cat([(first + self.places[number][0]).unsqueeze(1), self.placed(steps, known, number)], dim=1)
        # The first token is always known, so every row has a token to attend to.
        attended = torch.cat([torch.ones_like(known[:, :1]), known], dim=1)
        for block in self.layers(number):
            x = block(x, attended)
        token: Tensor = x[:, 0]
        return token

    def layers(self, number: int) -> list[AttentionBlock]:
        """Blocks of a field and a copy."""
        layers = self.blocks[number]
        assert isinstance(layers, nn.ModuleList)
        return cast(list[AttentionBlock], list(layers))

    def placed(self, steps: Tensor, known: Tensor, number: int) -> Tensor:
        """Steps with the embeddings of their places, [B, L, width]."""
        # Padding is at the end, so counted from the start the latest step would have a place of its own per length.
        counted = torch.arange(1, steps.shape[1] + 1, device=steps.device)
        latest = torch.where(known, counted, 0).amax(1, keepdim=True)
        places: Tensor = self.places[number][(latest - counted).clamp(min=0) + 1]
        return steps + places

    def read_late(
        self, field: Field, steps: Tensor, known: Tensor, first: Tensor, index: Tensor | None, copy: int
    ) -> Tensor:
        """The first token after blocks in which steps don't attend to it, [B, width].

        Args:
            field: The sequence or history.
            steps: Vectors of its steps, [R, L, width].
            known: Steps that count, [R, L] bool.
            first: The target, or what is learned in its place, [B, width].
            index: Row of ``steps`` that each row of the batch reads, [B]; None if R = B and they agree.
            copy: Number of the table set.
        """
        number = self.number(field, copy)
        x, token = self.placed(steps, known, number), (first + self.places[number][0]).unsqueeze(1)
        place = torch.arange(steps.shape[1], device=steps.device)
        # Each step attends to itself, so that unknown ones have something to read, too.
        attended = known.unsqueeze(1) | (place == place.unsqueeze(1))
        if self.next_action:
            attended = attended & (place <= place.unsqueeze(1))
        seats = None if index is None else Seats.of(index, known.shape[0])
        read = known if index is None else known.index_select(0, index)
        read = torch.cat([torch.ones_like(token[:, :, 0], dtype=torch.bool), read], dim=1)
        layers = self.layers(number)
        for i, block in enumerate(layers):
            query, key, value = block.project(x)
            own = block.project(token)
            if seats is not None:
                token = block.attend_once(token, own, key, value, known, seats)
            else:
                seen = (part if index is None else part.index_select(0, index) for part in (key, value))
                keys, values = (torch.cat([mine, part], dim=2) for mine, part in zip(own[1:], seen, strict=True))
                token = block.attend(token, own[0], keys, values, read)
            if i < len(layers) - 1 or self.predicts:
                x = block.attend(x, query, key, value, attended)
        self.predict_next(field, copy, x, known)
        result: Tensor = token[:, 0]
        return result
