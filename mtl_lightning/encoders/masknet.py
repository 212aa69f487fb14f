"""MaskNet: layers multiplied by masks that the row's own fields compute."""

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.bounds import Bounds, PositiveInt, Sizes
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.layers.batched import BatchedLinear, BatchedNorm
from mtl_lightning.schema import Schema


class FieldNorm(nn.Module):
    """Layer normalisation of each field, with E sets of scales and shifts.

    A field of one column keeps its value, since normalisation would make it constant. Neighbours of one size are
    normalised together.

    Args:
        sizes: Width of each field, in their order in the input.
        count: Number E of sets.

    Shapes: [B, Σ sizes] → [E, B, Σ sizes].

    Example:
        >>> norm = FieldNorm([2, 2, 1], 3)
        >>> x = norm(torch.tensor([[1.0, 3.0, 8.0, 4.0, 7.0]]))
        >>> x.shape, x[0].round().tolist()
        (torch.Size([3, 1, 5]), [[-1.0, 1.0, 1.0, -1.0, 7.0]])
    """

    def __init__(self, sizes: Sequence[int], count: int) -> None:
        super().__init__()
        runs = [(size, len(list(run))) for size, run in groupby(sizes)]
        self.sizes = [size for size, _ in runs]
        self.parts = [size * fields for size, fields in runs]
        # Flat, so that weight decay leaves them alone.
        self.scale = nn.Parameter(torch.ones(count * sum(sizes)))
        self.shift = nn.Parameter(torch.zeros(count * sum(sizes)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised fields side by side, once per set."""
        normal = [
            part if size == 1 else functional.layer_norm(part.unflatten(1, (-1, size)), (size,)).flatten(1)
            for size, part in zip(self.sizes, x.split(self.parts, dim=1), strict=True)
        ]
        columns = sum(self.parts)
        return torch.cat(normal, dim=1) * self.scale.view(-1, 1, columns) + self.shift.view(-1, 1, columns)


class MaskBlocks(nn.Module):
    """E blocks side by side: ReLU(LN(W (mask ⊙ x))) with mask = W₂ ReLU(W₁ v + b₁) + b₂.

    Args:
        count: Number E of blocks.
        guide_width: Width of v, from which the masks are computed.
        in_width: Width of x.
        width: Width of a block's output.
        reduction: Width of a mask's hidden layer divided by the width of the mask.

    Shapes: v [B, guide_width] and x [E, B, in_width] → [E, B, width].

    Example:
        >>> MaskBlocks(3, 5, 4, 2, reduction=2)(torch.ones(6, 5), torch.ones(3, 6, 4)).shape
        torch.Size([3, 6, 2])
    """

    def __init__(self, count: int, guide_width: int, in_width: int, width: int, *, reduction: int) -> None:
        super().__init__()
        hidden = reduction * in_width
        self.mask = nn.Sequential(
            BatchedLinear(count, guide_width, hidden, activation="relu"),
            nn.ReLU(),
            BatchedLinear(count, hidden, in_width),
        )
        self.linear = BatchedLinear(count, in_width, width, bias=False, activation="relu")
        self.norm = BatchedNorm(count, width)

    def forward(self, guide: Tensor, x: Tensor) -> Tensor:
        """Outputs of all blocks."""
        normal: Tensor = self.norm(self.linear(self.mask(guide) * x))
        return normal.relu()


class MaskNetEncoder(EmbeddingEncoder):
    """Feed-forward blocks whose inputs are multiplied by masks computed from all fields of the row.

    With v the fields side by side, a block gives ReLU(LN(W (mask ⊙ x))), where mask = W₂ ReLU(W₁ v + b₁) + b₂. Each
    block has its own mask. The first block reads x = LN(v), normalised field by field.

    - ``parallel``: all blocks read the fields, and z is their outputs side by side. The DNN that the paper has on top
      is ``hidden``, or the architecture.
    - ``serial``: each block reads the output of the block before, and z is the last output.

    Each block reads all fields, so no field has a slice of z.

    Source: Wang et al., "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by Instance-Guided
    Mask", DLP-KDD 2021: the mask, the block on embeddings, the block on a block, and both arrangements. The paper does
    not say which normalisations share their scales. Here every block has its own, one per column. A field of one column
    is not normalised.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        arrangement: ``parallel`` or ``serial``.
        blocks: Number of blocks.
        block_width: Width of a block's output.
        reduction: Width of a mask's hidden layer divided by the width of the mask (the paper's reduction ratio).
        options: Options of :class:`EmbeddingEncoder`.

    Shapes: z [B, copies × blocks × block_width], with ``serial`` [B, copies × block_width], or [B, hidden[-1]].

    Example:
        >>> from mtl_lightning.batch import Batch
        >>> from mtl_lightning.schema import Field
        >>> fields = (Field(name="user", kind="categorical", size=9, table="user"), Field(name="price", kind="numeric"))
        >>> batch = Batch(schema=Schema(fields, ()), ids=torch.tensor([[3], [4]]), dense=torch.ones(2, 1),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool))
        >>> MaskNetEncoder(batch.schema, 1, width=4, blocks=3, block_width=8)(batch).z.shape
        torch.Size([2, 24])
        >>> MaskNetEncoder(batch.schema, 1, width=4, arrangement="serial", block_width=8)(batch).z.shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        hidden: Sizes = (),
        arrangement: Literal["parallel", "serial"] = "parallel",
        blocks: PositiveInt = 3,
        block_width: Annotated[int, Bounds(ge=2)] = 64,
        reduction: PositiveInt = 2,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        columns, side_by_side = self.fields_width, blocks if arrangement == "parallel" else 1
        self.mix(side_by_side * block_width, hidden)
        sizes = [part.stop - part.start for part in self.field_slices.values()]
        in_widths = [columns] + [block_width] * (0 if arrangement == "parallel" else blocks - 1)
        self.norms = nn.ModuleList(FieldNorm(sizes, side_by_side) for _ in range(copies))
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                MaskBlocks(side_by_side, columns, width, block_width, reduction=reduction) for width in in_widths
            )
            for _ in range(copies)
        )

    def interact(self, part: Tensor, copy: int) -> Tensor:
        """Outputs of the blocks side by side, or of the last block, [B, D / copies]."""
        x: Tensor = self.norms[copy](part)
        layers = self.blocks[copy]
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            x = layer(part, x)
        return x.transpose(0, 1).flatten(1)
