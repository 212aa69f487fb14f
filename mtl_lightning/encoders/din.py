"""Deep interest network: behaviours weighed by the item at hand."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.layers import MLP
from mtl_lightning.schema import PADDING, Field, Schema


class DINEncoder(EmbeddingEncoder):
    """Target attention: a sequence is Σ_j a(e_j, t) e_j, with t the embedding of the item at hand.

    a(e, t) = MLP([e, t, e − t, e ⊙ t]), a number that isn't normalised, so that strong interest stays strong. The
    target of a sequence is the categorical field whose table it shares; a sequence without one keeps its mean.

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018. Its Dice activation needs
    statistics of the batch; ReLU stands for it.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        width: Width of an embedding.
        hidden: Sizes of a shared MLP at the end; empty for none. With it z is the MLP's output.
        dropout: Dropout of embeddings, pooled sequences and vectors, and in that MLP.
        init_scale: Standard deviation of the initial embeddings.
        numeric: ``plain``, ``piecewise`` or ``periodic``; see :class:`EmbeddingEncoder`.
        numeric_width: Width of a number's vector.
        attention: Layer sizes of the attention's MLP.

    Shapes: z as of :class:`EmbeddingEncoder`.

    Example:
        >>> from mtl_lightning.batch import Batch
        >>> item = Field(name="item", kind="categorical", size=9, table="item")
        >>> history = Field(name="history", kind="sequence", size=9, table="item", length=3)
        >>> schema = Schema((item, history), ())
        >>> batch = Batch(schema=schema, ids=torch.tensor([[3], [4]]), dense=torch.zeros(2, 0),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool),
        ...               sequences={"history": torch.tensor([[3, 5, 0], [0, 0, 0]])})
        >>> DINEncoder(schema, 1, width=4)(batch).z.shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        width: int = 16,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        init_scale: float = 0.05,
        numeric: Literal["plain", "piecewise", "periodic"] = "piecewise",
        numeric_width: int = 16,
        attention: Sequence[int] = (32,),
    ) -> None:
        super().__init__(
            schema,
            copies,
            width=width,
            hidden=hidden,
            dropout=dropout,
            init_scale=init_scale,
            numeric=numeric,
            numeric_width=numeric_width,
        )
        tables = {field.table: i for i, field in reversed(list(enumerate(self.categorical)))}
        self.targets = {field.name: tables[field.table] for field in self.sequences if field.table in tables}
        # By number: a feature's name may be no name of a module.
        self.numbers = {name: i for i, name in enumerate(self.targets)}
        self.attention = nn.ModuleList()
        for _ in self.targets:
            mlp = MLP(4 * width, attention)
            self.attention.append(nn.Sequential(mlp, nn.Linear(mlp.width, 1)))

    def pool(self, field: Field, steps: Tensor, ids: Tensor, others: Tensor) -> Tensor:
        """Steps summed by their attention to the target, [B, width]."""
        if field.name not in self.targets:
            return super().pool(field, steps, ids, others)
        start = self.targets[field.name] * self.embedding_width
        target = others[:, start : start + self.embedding_width].unsqueeze(1).expand_as(steps)
        seen = torch.cat([steps, target, steps - target, steps * target], dim=2)
        weight = self.attention[self.numbers[field.name]](seen).squeeze(2)
        weight = torch.where(ids == PADDING, 0.0, weight)
        return torch.einsum("bl,blw->bw", weight, steps)
