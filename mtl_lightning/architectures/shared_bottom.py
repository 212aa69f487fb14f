"""Shared bottom: one trunk for all tasks."""

from typing import Unpack

from torch import Tensor

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, Schema, Sizes
from mtl_lightning.layers import MLP
from mtl_lightning.layers.mlp import LayerOptions


class SharedBottom(DenseArchitecture):
    """One trunk whose output every task's tower reads: h_t = f(z) for all t.

    Source: Caruana, "Multitask Learning", Machine Learning 28 (1997), section 2.

    Args:
        schema: Fitted schema.
        encoder: Built encoder; its ``width`` D is the trunk's input.
        hidden: Layer sizes of the trunk; H is the last, or D if there are none.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h [B, H], the same tensor for every task.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> h = SharedBottom(schema, encoder, hidden=[8])(encoder(batch))
        >>> {task: tuple(value.shape) for task, value in h.items()}
        {'a': (4, 8), 'b': (4, 8)}
    """

    def __init__(
        self, schema: Schema, encoder: Encoder, *, hidden: Sizes = (128, 64), **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.trunk = MLP(encoder.width, hidden, **self.layer_options)
        self.widths = dict.fromkeys(self.tasks, self.trunk.width)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        h = self.trunk(encoded.z)
        self.record(h)
        return dict.fromkeys(self.tasks, h)
