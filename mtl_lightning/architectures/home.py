"""Hierarchy of multi-gate experts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.architectures.home_experts import GatedExperts
from mtl_lightning.interfaces import DropRate, Encoded, Encoder, MtlError, PositiveInt, Schema, Sizes
from mtl_lightning.layers import Gates
from mtl_lightning.layers.mlp import mixture


class HoME(DenseArchitecture):
    """Two levels of experts: for all tasks and for groups of similar tasks, then for single tasks as well.

    Level 1, group c: m_c = Σ_{e ∈ shared ∪ c} gate(z)_e f_e(z) + self gate over c's experts; and m_s over all.
    Level 2, task t of group c: h_t = Σ_{e ∈ shared ∪ c ∪ t} gate(m_c)_e f_e + self gate over t's experts. Shared
    experts read m_s, the others m_c.

    Normalisation, feature gates and self gates keep experts from collapsing, degrading to one task, and underfitting.
    The paper normalises experts over the batch; here they are normalised over the row.

    Source: Wang et al., "HoME: Hierarchy of Multi-Gate Experts for Multi-Task Learning at Kuaishou", 2024
    (arXiv 2408.05430).

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        groups: Names of similar tasks, one non-empty list per group; empty for one group of all tasks.
        experts: Experts of the shared group, of each task group and of each task, per level.
        hidden: Layer sizes of each expert; H is the last.
        rank: Rank of the feature gates' maps.
        maps: Number of maps that a feature gate mixes.
        dropout: Dropout in the experts.

    Shapes: z [B, D] → h_t [B, H]; level 2's gates, kept when asked, [B, 3·experts] per task: shared, group, own.

    Raises:
        MtlError: If the groups do not contain every task once, or one is empty.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=3)
        >>> HoME(schema, encoder, groups=[["a", "b"], ["c"]], hidden=[8])(encoder(batch))["c"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        groups: Sequence[Sequence[str]] = (),
        experts: PositiveInt = 2,
        hidden: Sizes = (64,),
        rank: PositiveInt = 4,
        maps: PositiveInt = 2,
        dropout: DropRate = 0.0,
    ) -> None:
        super().__init__(schema, encoder, dropout=dropout)
        self.groups = [tuple(group) for group in groups] or [self.tasks]
        grouped = sorted(task for group in self.groups for task in group)
        if grouped != sorted(self.tasks) or not all(self.groups):
            what = "not every task once" if all(self.groups) else "a group is empty"
            raise MtlError(f"architecture.groups: {', '.join(grouped)}: {what}", f"the tasks: {', '.join(self.tasks)}")
        count = len(self.groups)

        def group(width: int, self_gate: bool = True) -> GatedExperts:
            return GatedExperts(experts, width, hidden, rank=rank, maps=maps, dropout=dropout, self_gate=self_gate)

        # The shared group comes first.
        self.meta = nn.ModuleList(group(encoder.width) for _ in range(count + 1))
        width = hidden[-1]
        self.meta_gates = Gates(encoder.width, count, 2 * experts)
        self.shared_gate = Gates(encoder.width, 1, (count + 1) * experts)
        # Tasks read the upper level's shared and group experts through their gates only.
        self.upper = nn.ModuleList(group(width, self_gate=False) for _ in range(count + 1))
        self.own = nn.ModuleDict({task: group(width) for task in self.tasks})
        self.task_gates = nn.ModuleDict({task: Gates(width, 1, 3 * experts) for task in self.tasks})
        self.widths = dict.fromkeys(self.tasks, width)

    def meta_level(self, z: Tensor) -> list[Tensor]:
        """m_s and m_c of every group, each [B, H]."""
        outputs, own = zip(*(layer(z) for layer in self.meta), strict=True)
        merged = [mixture(self.shared_gate(z)[:, 0], torch.cat(outputs, dim=1)) + own[0]]
        for i, weights in enumerate(self.meta_gates(z).unbind(1), start=1):
            merged.append(mixture(weights, torch.cat([outputs[0], outputs[i]], dim=1)) + own[i])
        return merged

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        merged = self.meta_level(encoded.z)
        upper = [layer(m)[0] for layer, m in zip(self.upper, merged, strict=True)]
        h: dict[str, Tensor] = {}
        gates: dict[str, Tensor] = {}
        crossed = list(upper)
        for i, tasks in enumerate(self.groups, start=1):
            for task in tasks:
                x = merged[i].view_as(merged[i])  # the task's own way past the upper level, as a tensor of its own
                crossed.append(x)
                outputs, own = self.own[task](x)
                gates[task] = self.task_gates[task](x)[:, 0]
                h[task] = mixture(gates[task], torch.cat([upper[0], upper[i], outputs], dim=1)) + own
        self.record(*crossed, gates=gates)
        return {task: h[task] for task in self.tasks}
