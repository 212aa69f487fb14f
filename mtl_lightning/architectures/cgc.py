"""Customized gate control: experts per task and shared ones."""

from typing import Unpack

from torch import Tensor

from mtl_lightning.architectures.dense import ExpertArchitecture, ExpertOptions
from mtl_lightning.architectures.extraction import Extraction
from mtl_lightning.interfaces import Encoded, Encoder, PositiveInt, Schema, Sizes


class CGC(ExpertArchitecture):
    """Each task mixes its own experts and the shared ones: h_t = Σ_{e ∈ own_t ∪ shared} softmax(W_t z)_e f_e(z).

    Source: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        own_experts: Experts per task, at least 1.
        shared_experts: Experts that all tasks mix; 0 for none.
        hidden: Layer sizes of each expert; H is the last.
        options: Options of :class:`~mtl_lightning.architectures.dense.ExpertArchitecture`.

    Shapes: z [B, D] → h_t [B, H]; gates, kept when asked, [B, own + shared] per task, own experts first.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> CGC(schema, encoder, hidden=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        own_experts: PositiveInt = 2,
        shared_experts: PositiveInt = 2,
        hidden: Sizes = (128, 64),
        **options: Unpack[ExpertOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.layer = Extraction(
            len(self.tasks), encoder.width, own_experts, shared_experts, hidden, first=True, last=True,
            gate_dropout=self.gate_dropout, **self.layer_options,
        )  # fmt: skip
        self.widths = dict.fromkeys(self.tasks, self.layer.width)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        outputs, gates, crossed = self.layer([encoded.z])
        self.record(*crossed, gates=dict(zip(self.tasks, gates, strict=True)))
        return dict(zip(self.tasks, outputs, strict=True))
