"""Cross-stitch: a network per task whose hidden units are linearly combined after each layer."""

from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.dense import LayerwiseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, Schema, Sizes
from mtl_lightning.layers.mlp import ActivationOptions


def stitch_start(tasks: int, own: float) -> Tensor:
    """Mixing weights that start near single tasks: ``own`` on the diagonal, the rest shared equally, flat [T·T]."""
    if tasks == 1:
        return torch.ones(1)
    eye = torch.eye(tasks)
    return (eye * own + (1 - eye) * (1 - own) / (tasks - 1)).flatten()


class CrossStitch(LayerwiseArchitecture):
    """x_t at layer l + 1 reads Σ_s α_ts x_s of layer l, with α [T, T] learned per layer.

    Source: Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        hidden: Layer sizes of each task's network; H is the last.
        own: Initial α_tt; the other tasks share 1 − own.
        options: Options of :class:`~mtl_lightning.architectures.dense.LayerwiseArchitecture`.

    Shapes: z [B, D] → h_t [B, H].

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> CrossStitch(schema, encoder, hidden=[8, 8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        hidden: Sizes = (128, 64),
        own: float = 0.9,
        **options: Unpack[ActivationOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        count = len(self.tasks)
        sizes = [encoder.width, *hidden]
        self.layers = self.task_layers(sizes)
        # Flat, so that weight decay leaves them alone.
        self.stitches = nn.ParameterList(nn.Parameter(stitch_start(count, own)) for _ in hidden)
        self.widths = dict.fromkeys(self.tasks, sizes[-1])

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        x, count = encoded.z, len(self.tasks)
        for layer, stitch in zip(self.layers, self.stitches, strict=True):
            x = self.dropout(self.activation(layer(x)))
            if self.keep_shared:  # the last layer's stays
                rows = x.transpose(0, 1)
                x, self.shared = rows.transpose(0, 1), (rows,)
            x = torch.einsum("ts,sbh->tbh", stitch.view(count, count), x)
        return dict(zip(self.tasks, x.unbind(0) if len(self.layers) else [x] * count, strict=True))
