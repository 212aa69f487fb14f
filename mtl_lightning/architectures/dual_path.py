"""A path of its own and a shared path per task, weighed by validation."""

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from mtl_lightning.architectures.copies import check_copies
from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, Schema, Sizes
from mtl_lightning.layers import MLP
from mtl_lightning.layers.mlp import Experts, LayerOptions


class DualPath(DenseArchitecture):
    """Two members per task: a single-task network, f_t(z_t), and a shared bottom, f_0(z_0), each with tables and heads.

    Each member learns as if it were alone. Every validation chooses the weights of a task's two predictions, from equal
    weights at the start. A task whose shared path has weight 0 leaves it: its gradient does not reach trunk and tables
    of the shared path until a later validation gives it weight again.

    Args:
        schema: Fitted schema.
        encoder: Built encoder with T + 1 table sets; set 0 is shared.
        hidden: Layer sizes of each trunk; H is the last.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, 2·H], the task's own path first.

    Raises:
        MtlError: If the encoder mixes the table sets in an MLP.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2, copies=DualPath.table_copies(2))
        >>> paths = DualPath(schema, encoder, hidden=[8])
        >>> paths(encoder(batch))["a"].shape, paths.member_names
        (torch.Size([4, 16]), ('own', 'shared'))
    """

    members = 2
    member_names = ("own", "shared")
    weighs_members = True
    joined: Tensor
    """1 for each task that trains the shared path, otherwise 0, [T]."""

    def __init__(
        self, schema: Schema, encoder: Encoder, *, hidden: Sizes = (128, 64), **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(schema, encoder, **options)
        count = len(self.tasks)
        width = check_copies("dual_path", encoder, self.table_copies(count))
        self.trunk = MLP(width, hidden, **self.layer_options)
        self.trunks = Experts(count, width, hidden, **self.layer_options)
        self.register_buffer("joined", torch.ones(count))
        self.widths = dict.fromkeys(self.tasks, 2 * self.trunk.width)

    @classmethod
    def table_copies(cls, tasks: int, **options: Any) -> int:
        """A shared set of tables and one per task."""
        return tasks + 1

    def weigh_members(self, weights: Mapping[str, Tensor]) -> None:
        """Let the tasks train the shared path to whose predictions it contributes."""
        for i, task in enumerate(self.tasks):
            self.joined[i] = float(weights[task][1] > 0)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, 2·H]."""
        shared = self.trunk(encoded.copy(0))
        own = self.trunks(torch.stack([encoded.copy(i + 1) for i in range(len(self.tasks))])).unbind(1)
        self.record(shared, *own)
        constant = shared.detach()
        # A gradient of zero keeps the graph connected, on which several processes rely.
        passed = [constant + joined * (shared - constant) for joined in self.joined.to(shared.dtype)]
        return {task: torch.cat(pair, dim=1) for task, *pair in zip(self.tasks, own, passed, strict=True)}
