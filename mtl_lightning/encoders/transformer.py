"""A transformer over sequences and histories."""

from typing import Any

import torch
from torch import Tensor, nn

from mtl_lightning.bounds import NonNegativeFloat, PositiveInt
from mtl_lightning.encoders.attention import AttentionBlock
from mtl_lightning.encoders.next_action import NextActionEncoder
from mtl_lightning.schema import Field, Schema


class TransformerEncoder(NextActionEncoder):
    """Self-attention over a sequence or history and the item at hand; the item's place is read out.

    The tokens are the target, then the steps. The target is the categorical field whose table a sequence shares; of a
    history, the sum of the fields whose tables its ids share; where there is none, a learned token. Steps are the
    embeddings of a sequence, or the sums of what a history's events carry. Each has a learned embedding of its place,
    counted back from the latest: 1 for the last step that is known, whatever the length of the history (steps that
    ``step_dropout`` removes are unknown). After the blocks, the first token represents the whole. With ``next_action``,
    steps attend to themselves and earlier steps only, in predictions as well; the first token attends to all.

    Source: Chen et al., "Behavior Sequence Transformer for E-commerce Recommendation in Alibaba", DLP-KDD 2019. There
    positions are times before the target. Here they are numbers of steps, normalisation precedes each block, and a
    single token is the output.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        blocks: Number of blocks.
        attention_heads: Attention heads; they divide ``width``.
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
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, init_scale=init_scale, **options)
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

    def pool(self, field: Field, steps: Tensor, known: Tensor, others: Tensor, copy: int) -> Tensor:
        """The first token after the blocks, [B, width]."""
        number = self.number(field, copy)
        first = self.target_or_reader(field, others, copy)
        # Padding is at the end, so counted from the start the latest step would have a place of its own per length.
        places, counted = self.places[number], torch.arange(1, steps.shape[1] + 1, device=steps.device)
        latest = torch.where(known, counted, 0).amax(1, keepdim=True)
        back = (latest - counted).clamp(min=0) + 1
        x = torch.cat([(first + places[0]).unsqueeze(1), steps + places[back]], dim=1)
        # The first token is always known, so every row has a token to attend to.
        attended = torch.cat([torch.ones_like(known[:, :1]), known], dim=1)
        if self.next_action:
            order = torch.cat([counted[-1:] + 1, counted])
            read, reader = order.unsqueeze(0), order.unsqueeze(1)
            # Each token attends to itself, so that unknown steps have something to read, too.
            attended = (attended.unsqueeze(1) & (read < reader)) | (read == reader)
        layers = self.blocks[number]
        assert isinstance(layers, nn.ModuleList)
        for block in layers:
            x = block(x, attended)
        self.predict_next(field, copy, x[:, 1:], known)
        return x[:, 0]
