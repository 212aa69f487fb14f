"""One-gate mixture of experts."""

from typing import Unpack

from torch import Tensor

from mtl_lightning.architectures.dense import ExpertArchitecture, ExpertOptions
from mtl_lightning.interfaces import Encoded, Encoder, PositiveInt, Schema, Sizes
from mtl_lightning.layers import Gates
from mtl_lightning.layers.mlp import Experts, mixture


class OMoE(ExpertArchitecture):
    """Experts mixed by one gate for all tasks: h = Σ_e softmax(W z)_e f_e(z). An ablation of MMoE's gates.

    Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts",
    KDD 2018.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        experts: Number E of experts.
        hidden: Layer sizes of each expert; H is the last.
        options: Options of :class:`~mtl_lightning.architectures.dense.ExpertArchitecture`.

    Shapes: z [B, D] → h [B, H], the same for every task; the gate, kept when asked, [B, E] under ``shared``.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> OMoE(schema, encoder, experts=3, hidden=[8])(encoder(batch))["b"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        experts: PositiveInt = 8,
        hidden: Sizes = (128, 64),
        **options: Unpack[ExpertOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.experts = Experts(experts, encoder.width, hidden, **self.layer_options)
        self.gate = Gates(encoder.width, 1, experts, dropout=self.gate_dropout)
        self.widths = dict.fromkeys(self.tasks, self.experts.width)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        weights = self.gate(encoded.z)[:, 0]
        h = mixture(weights, self.experts(encoded.z))
        self.record(h, gates={"shared": weights})
        return dict.fromkeys(self.tasks, h)
