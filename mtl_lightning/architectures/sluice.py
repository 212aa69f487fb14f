"""Sluice network: subspaces per task, learned sharing between them, learned mixing of layers."""

from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.cross_stitch import stitch_start
from mtl_lightning.architectures.dense import LayerwiseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, MtlError, NonNegativeFloat, PositiveInt, Schema
from mtl_lightning.layers.batched import BatchedLinear
from mtl_lightning.layers.mlp import ActivationOptions


class Sluice(LayerwiseArchitecture):
    """Networks per task with subspaces in each layer, mixed by α between tasks and by β between layers.

    Each layer of task t has S subspaces. A learned matrix α [T·S, T·S] combines the subspaces of all tasks before the
    next layer. The representation is h_t = Σ_l β_tl x_t^l over the layers. The penalty
    c·Σ_{t,l} Σ_{i<j} ‖W_ti W_tjᵀ‖²_F on the weights, averaged over the entries of the product, keeps subspaces of one
    task different.

    The tasks share last the subspaces of the last layer, before α combines them, and the outputs of the layers below,
    where β reads them.

    Source: Ruder et al., "Latent Multi-task Architecture Learning" (sluice networks), AAAI 2019.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        width: Width H of every layer; β needs them equal.
        layers: Number of layers, at least 1.
        subspaces: Subspaces S of a layer; divides ``width``.
        own: Initial weight of a subspace's own values in α.
        orthogonality: Factor c of the penalty.
        options: Options of :class:`~mtl_lightning.architectures.dense.LayerwiseArchitecture`.

    Shapes: z [B, D] → h_t [B, H].

    Raises:
        MtlError: If the width is not a multiple of the subspaces.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> Sluice(schema, encoder, width=8)(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        width: PositiveInt = 64,
        layers: PositiveInt = 2,
        subspaces: PositiveInt = 2,
        own: float = 0.9,
        orthogonality: NonNegativeFloat = 0.01,
        **options: Unpack[ActivationOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        if width % subspaces:
            raise MtlError(f"architecture.subspaces: {subspaces} doesn't divide the width {width}")
        count = len(self.tasks)
        self.subspaces, self.orthogonality = subspaces, orthogonality
        sizes = [encoder.width, *[width] * layers]
        self.layers = self.task_layers(sizes)
        self.sharing = nn.ParameterList(nn.Parameter(stitch_start(count * subspaces, own)) for _ in range(layers))
        self.mixing = nn.Parameter(torch.full((count * layers,), 1 / layers))
        self.widths = dict.fromkeys(self.tasks, width)

    def overlap(self) -> Tensor:
        """Mean squared inner product between weight rows of different subspaces of one task, summed over layers."""
        total = torch.zeros((), dtype=self.mixing.dtype, device=self.mixing.device)
        for layer in self.layers:
            assert isinstance(layer, BatchedLinear)
            weight = layer.weight.unflatten(1, (self.subspaces, -1))
            for i in range(self.subspaces):
                for j in range(i + 1, self.subspaces):
                    product = weight[:, i] @ weight[:, j].transpose(1, 2)
                    total = total + product.square().mean((1, 2)).sum()
        return total

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        x, count = encoded.z, len(self.tasks)
        beta = self.mixing.view(len(self.layers), count, 1, 1)
        size = count * self.subspaces
        outputs: list[Tensor] = []
        crossed: list[Tensor] = []
        for i, (layer, alpha) in enumerate(zip(self.layers, self.sharing, strict=True)):
            x = self.dropout(self.activation(layer(x)))
            if self.keep_shared and i == len(self.layers) - 1:
                x = _cross(x, crossed)
            parts = x.unflatten(2, (self.subspaces, -1)).transpose(1, 2).flatten(0, 1)
            parts = torch.einsum("ts,sbh->tbh", alpha.view(size, size), parts)
            x = parts.unflatten(0, (count, -1)).transpose(1, 2).flatten(2)
            outputs.append(_cross(x, crossed) if self.keep_shared and i < len(self.layers) - 1 else x)
        self.shared = tuple(crossed)
        mixed = sum((beta[i] * value for i, value in enumerate(outputs)), torch.zeros_like(x))
        if self.training and self.orthogonality > 0 and self.subspaces > 1:
            self.penalty = (self.orthogonality * self.overlap()).expand(len(encoded.batch))
        return dict(zip(self.tasks, mixed.unbind(0), strict=True))


def _cross(x: Tensor, crossed: list[Tensor]) -> Tensor:
    """Store a view of [T, B, H] with the batch first, and return what reads it."""
    rows = x.transpose(0, 1)
    crossed.append(rows)
    return rows.transpose(0, 1)
