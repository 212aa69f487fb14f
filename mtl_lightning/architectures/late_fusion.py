"""Late fusion: a network per task, fused at the output layer."""

from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.cross_stitch import stitch_start
from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, Schema, Sizes
from mtl_lightning.layers.mlp import Experts, LayerOptions


class LateFusion(DenseArchitecture):
    """Networks per task that are fused once, after their last layer: h_t = W_t [f_1(z), …, f_T(z)].

    W_t starts as ``own`` times the task's own output plus an equal part of the others, as a cross-stitch unit does.
    Unlike that unit it weighs each hidden unit separately.

    Source: Gao et al., "NDDR-CNN", CVPR 2019 (with its initialisation), at the last layer only.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        hidden: Layer sizes of each task's network; H is the last.
        own: Initial weight of the task's own output.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, H].

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> LateFusion(schema, encoder, hidden=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        hidden: Sizes = (128, 64),
        own: float = 0.9,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        count = len(self.tasks)
        self.networks = Experts(count, encoder.width, hidden, **self.layer_options)
        width = self.networks.width
        start = torch.kron(stitch_start(count, own).view(count, count), torch.eye(width))
        self.fusion = nn.Linear(count * width, count * width)
        with torch.no_grad():
            self.fusion.weight.copy_(start)
            self.fusion.bias.zero_()
        self.widths = dict.fromkeys(self.tasks, width)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        features = self.networks(encoded.z).flatten(1)
        self.record(features)
        fused = self.fusion(features)
        return dict(zip(self.tasks, fused.chunk(len(self.tasks), dim=1), strict=True))
