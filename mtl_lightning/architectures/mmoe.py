"""Multi-gate mixture of experts."""

from typing import Unpack

from torch import Tensor

from mtl_lightning.architectures.dense import ExpertArchitecture, ExpertOptions
from mtl_lightning.interfaces import Encoded, Encoder, PositiveInt, Schema, Sizes
from mtl_lightning.layers import Gates
from mtl_lightning.layers.mlp import Experts, mixtures


class MMoE(ExpertArchitecture):
    """Experts shared by all tasks, mixed by a gate per task: h_t = Σ_e softmax(W_t z)_e f_e(z).

    Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts",
    KDD 2018. Gate dropout: Zhao et al., "Recommending What Video to Watch Next", RecSys 2019.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        experts: Number E of experts.
        hidden: Layer sizes of each expert; H is the last.
        options: Options of :class:`~mtl_lightning.architectures.dense.ExpertArchitecture`.

    Shapes: z [B, D] → h_t [B, H]; gates, kept when asked, [B, E] per task.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> mmoe = MMoE(schema, encoder, experts=3, hidden=[8])
        >>> mmoe.keep_gates = True
        >>> {task: tuple(value.shape) for task, value in mmoe(encoder(batch)).items()}
        {'a': (4, 8), 'b': (4, 8)}
        >>> mmoe.gates["a"].shape
        torch.Size([4, 3])
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
        self.task_gates = Gates(encoder.width, len(self.tasks), experts, dropout=self.gate_dropout)
        self.widths = dict.fromkeys(self.tasks, self.experts.width)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        weights = self.task_gates(encoded.z)
        if self.keep_gates:
            self.gates = dict(zip(self.tasks, weights.detach().unbind(1), strict=True))
        experts = self.experts(encoded.z)
        self.record(experts, weights)
        return dict(zip(self.tasks, mixtures(weights, experts), strict=True))
