"""Progressive layered extraction: stacked levels of own and shared experts."""

from typing import Unpack

from torch import Tensor, nn

from mtl_lightning.architectures.dense import ExpertArchitecture, ExpertOptions
from mtl_lightning.architectures.extraction import Extraction
from mtl_lightning.interfaces import Encoded, Encoder, PositiveInt, Schema, Sizes


class PLE(ExpertArchitecture):
    """CGC in several levels, with a shared group, whose gate reads all experts, next to the tasks' groups.

    At level l, task t has x_t = Σ_{e ∈ own_t ∪ shared} softmax(W_t x_t')_e f_e(x'). Own experts read x_t' of the level
    below, and shared ones x_s'. The shared group has x_s = Σ_{e ∈ all} softmax(W_s x_s')_e f_e(x'). At the first level
    every x' is z. The last level is a CGC layer.

    Source: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020, section 4.2.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        own_experts: Experts per task and level, at least 1.
        shared_experts: Shared experts per level, at least 1.
        hidden: Layer sizes of each expert, the same at every level; H is the last.
        levels: Number of levels.
        options: Options of :class:`~mtl_lightning.architectures.dense.ExpertArchitecture`.

    Shapes: z [B, D] → h_t [B, H]; gates, kept when asked, [B, own + shared] per task at the last level, and under
    ``level<i>/<task>`` (and ``level<i>/shared``) at the others.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=1)
        >>> PLE(schema, encoder, hidden=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        own_experts: PositiveInt = 2,
        shared_experts: PositiveInt = 2,
        hidden: Sizes = (64,),
        levels: PositiveInt = 2,
        **options: Unpack[ExpertOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.levels = nn.ModuleList()
        width = encoder.width
        for level in range(levels):
            layer = Extraction(
                len(self.tasks), width, own_experts, shared_experts, hidden, first=level == 0, last=level == levels - 1,
                gate_dropout=self.gate_dropout, **self.layer_options,
            )  # fmt: skip
            self.levels.append(layer)
            width = layer.width
        self.widths = dict.fromkeys(self.tasks, width)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        groups = [encoded.z]
        stored: dict[str, Tensor] = {}
        names = (*self.tasks, "shared")
        for level, layer in enumerate(self.levels):
            groups, gates, crossed = layer(groups)
            self.record(*crossed)  # the last level's stays
            if self.keep_gates:
                prefix = "" if level == len(self.levels) - 1 else f"level{level}/"
                stored |= {f"{prefix}{name}": gate.detach() for name, gate in zip(names, gates, strict=False)}
        if self.keep_gates:
            self.gates = stored
        return dict(zip(self.tasks, groups, strict=True))
