"""Multi-task attention network: a shared trunk, and masks per task over its features."""

from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.dense import LayerwiseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, PositiveInt, Schema, Sizes
from mtl_lightning.layers.batched import BatchedLinear
from mtl_lightning.layers.initialisation import hidden_linear
from mtl_lightning.layers.mlp import ActivationOptions


class MTAN(LayerwiseArchitecture):
    """Soft attention masks per task over the features of every shared layer.

    With shared features p^l = layer_l(p^{l−1}): a_t^l = σ(G_t^l ReLU(R_t^l [p^l, F^l(â_t^{l−1})])) and
    â_t^l = a_t^l ⊙ p^l; h_t is â_t of the last layer. F^l, which carries a task's features to the next layer, is the
    same for all tasks. Dense layers replace the paper's convolutions, a block is one layer, and there is no batch
    normalisation.

    The tasks share the features of every layer last. The maps F^l, which a task applies to features of its own, are
    above them.

    Source: Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equations 1 and 2.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        hidden: Layer sizes of the shared trunk; H is the last.
        attention: Width of the attention modules' hidden layer.
        options: Options of :class:`~mtl_lightning.architectures.dense.LayerwiseArchitecture`.

    Shapes: z [B, D] → h_t [B, H]. Masks, kept when asked, [B, H] per task.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> MTAN(schema, encoder, hidden=[8, 8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        hidden: Sizes = (128, 64),
        attention: PositiveInt = 32,
        **options: Unpack[ActivationOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        count = len(self.tasks)
        activation = self.layer_options["activation"]
        sizes = [encoder.width, *hidden]
        self.trunk = nn.ModuleList(hidden_linear(sizes[i], sizes[i + 1], activation) for i in range(len(hidden)))
        self.carry = nn.ModuleList(hidden_linear(sizes[i], sizes[i + 1], activation) for i in range(1, len(hidden)))
        self.reduce = nn.ModuleList(
            BatchedLinear(count, size * (1 if i == 0 else 2), attention, activation="relu")
            for i, size in enumerate(hidden)
        )
        self.expand = nn.ModuleList(BatchedLinear(count, attention, size) for size in hidden)
        self.widths = dict.fromkeys(self.tasks, sizes[-1])

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        count = len(self.tasks)
        features, masked, mask = encoded.z, None, None
        crossed: list[Tensor] = []
        for i, layer in enumerate(self.trunk):
            features = self.dropout(self.activation(layer(features)))
            read = features
            if self.keep_shared:  # a tensor of the tasks' own, from which the next layer is not computed
                read = features.view_as(features)
                crossed.append(read)
            seen = read
            if masked is not None:
                carried = self.activation(self.carry[i - 1](masked))
                seen = torch.cat([read.expand(count, -1, -1), carried], dim=2)
            mask = self.expand[i](self.reduce[i](seen).relu()).sigmoid()
            masked = mask * read
        self.shared = tuple(crossed)
        if masked is None:
            return dict.fromkeys(self.tasks, features)
        if self.keep_gates and mask is not None:
            self.gates = dict(zip(self.tasks, mask.detach().unbind(0), strict=True))
        return dict(zip(self.tasks, masked.unbind(0), strict=True))
