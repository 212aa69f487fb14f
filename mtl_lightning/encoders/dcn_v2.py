"""Deep and cross network, second version."""

from typing import Any

from torch import Tensor, nn

from mtl_lightning.bounds import NonNegativeInt
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.schema import Schema


class DCNv2Encoder(EmbeddingEncoder):
    """Explicit crosses of the fields: x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l, and z = x_L.

    W_l has full rank, or is U V with a given rank. L layers contain all products of up to L + 1 columns. The
    architecture above (experts, trunks) is the deep part. A field keeps its slice, since each column is its own value
    times the rest.

    Source: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
    Systems", WWW 2021, equations 1 and 2.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        crosses: Number L of cross layers.
        rank: Rank of W_l; 0 for full.
        options: Options of :class:`EmbeddingEncoder`.

    Shapes: z as of :class:`EmbeddingEncoder`.

    Example:
        >>> import torch
        >>> from mtl_lightning.batch import Batch
        >>> from mtl_lightning.schema import Field
        >>> fields = (Field(name="user", kind="categorical", size=9, table="user"), Field(name="price", kind="numeric"))
        >>> batch = Batch(schema=Schema(fields, ()), ids=torch.tensor([[3], [4]]), dense=torch.ones(2, 1),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool))
        >>> DCNv2Encoder(batch.schema, 1, width=4, numeric="plain")(batch).z.shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        crosses: NonNegativeInt = 2,
        rank: NonNegativeInt = 0,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        size = self.fields_width

        def cross() -> nn.Module:
            if rank <= 0:
                return nn.Linear(size, size)
            return nn.Sequential(nn.Linear(size, rank, bias=False), nn.Linear(rank, size))

        self.crosses = nn.ModuleList(nn.ModuleList(cross() for _ in range(crosses)) for _ in range(copies))

    def interact(self, part: Tensor, copy: int) -> Tensor:
        """The crosses, [B, D / copies]."""
        x = part
        layers = self.crosses[copy]
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            x = part * layer(x) + x
        return x
