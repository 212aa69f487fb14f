"""Adaptive task-to-task fusion."""

from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, NonNegativeInt, PositiveInt, Schema, Sizes
from mtl_lightning.layers import Gates
from mtl_lightning.layers.mlp import Experts, LayerOptions, mixture


class AdaTT(DenseArchitecture):
    """Levels at which a task gates over the experts of all tasks and adds its own ones as a residual.

    Let E be the outputs of all tasks' experts and of the shared ones, each computed from its group's input. At each
    level h_t = Σ_e softmax(W_t x_t)_e E_e + Σ_{e ∈ own_t} v_te E_e, with v_t learned and the same for all rows. The
    shared group fuses in the same way, except at the last level.

    Here v is always learned, and starts at one over the number of a group's experts. The authors' code fixes v at 1
    where every group has one expert, and starts at random otherwise.

    Source: Li et al., "AdaTT: Adaptive Task-to-Task Fusion Network", KDD 2023 (its AdaTT-sp
    with ``shared_experts: 0``).

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        own_experts: Experts per task and level.
        shared_experts: Experts of the shared group per level; 0 for none.
        hidden: Layer sizes of each expert, the same at every level; H is the last.
        levels: Number of levels.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, H]; gates of the last level, kept when asked, [B, T · own + shared] per task.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> AdaTT(schema, encoder, hidden=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        own_experts: PositiveInt = 2,
        shared_experts: NonNegativeInt = 1,
        hidden: Sizes = (64,),
        levels: PositiveInt = 2,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.counts = [own_experts] * len(self.tasks) + ([shared_experts] if shared_experts else [])
        self.experts = nn.ModuleList()
        self.fusions = nn.ModuleList()
        self.residuals = nn.ParameterList()
        width = encoder.width
        for level in range(levels):
            # One matrix product at the first level, where every group reads z.
            groups = [sum(self.counts)] if level == 0 else self.counts
            self.experts.append(nn.ModuleList(Experts(count, width, hidden, **self.layer_options) for count in groups))
            fused = self.counts[: len(self.tasks)] if level == levels - 1 else self.counts
            self.fusions.append(nn.ModuleList(Gates(width, 1, sum(self.counts)) for _ in fused))
            for count in fused:
                self.residuals.append(nn.Parameter(torch.full((count,), 1 / count)))
            width = hidden[-1]
        self.widths = dict.fromkeys(self.tasks, width)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        inputs = [encoded.z] * len(self.counts)
        residuals = iter(self.residuals)
        for level, (experts, fusions) in enumerate(zip(self.experts, self.fusions, strict=True)):
            assert isinstance(experts, nn.ModuleList)
            assert isinstance(fusions, nn.ModuleList)
            if level == 0:
                groups = list(experts[0](encoded.z).split(self.counts, dim=1))
            else:
                groups = [group(x) for group, x in zip(experts, inputs, strict=True)]
            weights = [gate(x)[:, 0] for gate, x in zip(fusions, inputs, strict=False)]
            self.record(*groups, *weights)  # the last level overwrites the others
            every = torch.cat(groups, dim=1)
            inputs = [
                mixture(weight, every) + torch.einsum("e,beh->bh", next(residuals), own)
                for weight, own in zip(weights, groups, strict=False)
            ]
        self.record(gates=dict(zip(self.tasks, weights, strict=True)))
        return dict(zip(self.tasks, inputs, strict=True))
