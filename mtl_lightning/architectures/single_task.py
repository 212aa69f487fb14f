"""One network per task."""

from typing import Any, Unpack

import torch
from torch import Tensor

from mtl_lightning.architectures.copies import check_copies
from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, Schema, Sizes
from mtl_lightning.layers.mlp import Experts, LayerOptions


class SingleTask(DenseArchitecture):
    """A trunk per task: h_t = f_t(z), or f_t(z_t) with separate tables. The baseline of every comparison.

    With ``share_tables: false`` the tasks share nothing, and the run equals T separate runs.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        hidden: Layer sizes of each trunk; H is the last.
        share_tables: Whether the tasks share the encoder: embedding tables and the vectors of numbers.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, H].

    Raises:
        MtlError: If tables are to be separate and the encoder mixes them in an MLP.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> h = SingleTask(schema, encoder, hidden=[8])(encoder(batch))
        >>> {task: tuple(value.shape) for task, value in h.items()}
        {'a': (4, 8), 'b': (4, 8)}
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        hidden: Sizes = (128, 64),
        share_tables: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.copies = self.table_copies(len(self.tasks), share_tables=share_tables)
        width = check_copies("single_task", encoder, self.copies)
        self.trunks = Experts(len(self.tasks), width, hidden, **self.layer_options)
        self.widths = dict.fromkeys(self.tasks, self.trunks.width)

    @classmethod
    def table_copies(cls, tasks: int, **options: Any) -> int:
        """One set of tables, or one per task."""
        return 1 if options.get("share_tables", True) else tasks

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        z = encoded.z
        if self.copies > 1:
            z = torch.stack([encoded.copy(i) for i in range(self.copies)])
        return dict(zip(self.tasks, self.trunks(z).unbind(1), strict=True))
