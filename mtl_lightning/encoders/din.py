"""Deep interest network: behaviours weighed by the item at hand."""

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.bounds import Sizes
from mtl_lightning.encoders.attention import sum_of, targets
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.layers import MLP
from mtl_lightning.schema import Field, Schema


class DINEncoder(EmbeddingEncoder):
    """Target attention: a sequence is Σ_j a(e_j, t) e_j, with t the embedding of the target item.

    a(e, t) = MLP([e, t, e − t, e ⊙ t]) is not normalised, so that strong interest stays strong. The
    target of a sequence is the categorical field whose table it shares. For a history e_j is the sum of what event j
    carries, and t the sum over the categorical fields whose tables its ids share. One without a target keeps its mean.

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018. ReLU replaces its Dice
    activation, which needs statistics of the batch.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        attention: Layer sizes of the attention's MLP.
        options: Options of :class:`EmbeddingEncoder`.

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
        attention: Sizes = (32,),
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        self.targets = targets(self.categorical, (*self.sequences, *self.histories))
        # By number: a feature's name may not be a valid name of a module.
        self.numbers = {name: i for i, name in enumerate(self.targets)}
        self.attention = nn.ModuleList()
        for _ in range(copies * len(self.targets)):
            mlp = MLP(4 * self.embedding_width, attention)
            self.attention.append(nn.Sequential(mlp, nn.Linear(mlp.width, 1)))

    @override
    def encodes_once(self, field: Field) -> bool:
        return field.name not in self.targets

    def pool(self, field: Field, steps: Tensor, known: Tensor, others: Tensor, copy: int) -> Tensor:
        """Steps summed by their attention to the target, [B, width]."""
        if field.name not in self.targets:
            return super().pool(field, steps, known, others, copy)
        at_hand = sum_of(others[:, self.embedded[name]] for name in self.targets[field.name])
        target = at_hand.unsqueeze(1).expand_as(steps)
        seen = torch.cat([steps, target, steps - target, steps * target], dim=2)
        attention = self.attention[copy * len(self.targets) + self.numbers[field.name]]
        weight = attention(seen).squeeze(2)
        weight = torch.where(known, weight, 0.0)
        if self.training and self.step_dropout:
            # A sum, unlike a mean, has fewer terms where steps were dropped.
            weight = weight / (1 - self.step_dropout)
        return torch.einsum("bl,blw->bw", weight, steps)
