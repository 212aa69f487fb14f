"""Shared and task-specific embeddings."""

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.copies import check_copies
from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, PositiveInt, Schema, Sizes
from mtl_lightning.layers import Gates
from mtl_lightning.layers.mlp import Experts, LayerOptions, mixture


class STEM(DenseArchitecture):
    """Tables per task and shared ones; a task reads all experts, and trains only its own and the shared ones.

    Table sets 1 … T belong to the tasks and set 0 is shared; each has experts that read its part of z. The gate of
    task t reads the sum of its own part and the shared one: g_t = softmax(W_t (z_t + z_0)). The representation is
    h_t = Σ_{e ∈ own_t ∪ shared} g_te f_e + Σ_{e of other tasks} g_te sg(f_e). sg is the stop-gradient, so other tasks'
    tables do not learn from t. There is one level of experts.

    Source: Su et al., "STEM: Unleashing the Power of Embeddings for Multi-task Recommendation", AAAI 2024
    (All Forward, Task-specific Backward gating), with the gate's input as in the authors' code.

    Args:
        schema: Fitted schema.
        encoder: Built encoder with T + 1 table sets, of width D.
        own_experts: Experts per task.
        shared_experts: Experts on the shared tables.
        hidden: Layer sizes of each expert; H is the last.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, H]; gates, kept when asked, [B, shared + T · own] per task, shared experts first.

    Raises:
        MtlError: If the encoder mixes the table sets in an MLP.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2, copies=STEM.table_copies(2))
        >>> STEM(schema, encoder, hidden=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        own_experts: PositiveInt = 1,
        shared_experts: PositiveInt = 1,
        hidden: Sizes = (128, 64),
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        count = len(self.tasks)
        width = check_copies("stem", encoder, self.table_copies(count))
        self.experts = nn.ModuleList(
            Experts(size, width, hidden, **self.layer_options) for size in [shared_experts, *[own_experts] * count]
        )
        self.task_gates = nn.ModuleList(Gates(width, 1, shared_experts + count * own_experts) for _ in self.tasks)
        self.widths = dict.fromkeys(self.tasks, hidden[-1])

    @classmethod
    def table_copies(cls, tasks: int, **options: Any) -> int:
        """A shared set of tables and one per task."""
        return tasks + 1

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        parts = [encoded.copy(i) for i in range(len(self.tasks) + 1)]
        groups = [experts(part) for experts, part in zip(self.experts, parts, strict=True)]
        detached = [group.detach() for group in groups]
        h, gates = {}, {}
        for i, task in enumerate(self.tasks, start=1):
            seen = [groups[j] if j in (0, i) else detached[j] for j in range(len(groups))]
            gates[task] = self.task_gates[i - 1](parts[i] + parts[0])[:, 0]
            h[task] = mixture(gates[task], torch.cat(seen, dim=1))
        self.record(*groups, *gates.values(), gates=gates)
        return h
