"""TabM: an ensemble in one trunk."""

from typing import Unpack

from torch import Tensor, nn

from mtl_lightning.architectures.dense import LayerwiseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, PositiveInt, Schema, Sizes
from mtl_lightning.layers.batch_ensemble import BatchEnsembleLinear
from mtl_lightning.layers.mlp import ActivationOptions


class TabM(LayerwiseArchitecture):
    """k trunks that share their matrices but for rank-one scalings: x_m ← a(s_m ∘ W (r_m ∘ x_m) + b_m).

    All tasks read the same trunks, and each member has its own head per task. The loss of a task is the mean of its
    members' losses; the prediction is the mean of their predictions. r of the first layer starts with random signs, all
    other scalings with ones.

    Source: Gorishniy et al., "TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling", ICLR 2025,
    section 3.3.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        members: Number k of members.
        hidden: Layer sizes of the trunk; a member's width H is the last, or D if there are none.
        options: Options of :class:`~mtl_lightning.architectures.dense.LayerwiseArchitecture`.

    Shapes: z [B, D] → h [B, k·H], the same tensor for every task, a slice of H per member.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> tabm = TabM(schema, encoder, members=3, hidden=[8])
        >>> tabm(encoder(batch))["a"].shape, tabm.members
        (torch.Size([4, 24]), 3)
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        members: PositiveInt = 8,
        hidden: Sizes = (128, 64),
        **options: Unpack[ActivationOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.members = members
        activation = self.layer_options["activation"]
        widths = [encoder.width, *hidden]
        self.layers = nn.ModuleList(
            BatchEnsembleLinear(members, width, size, activation=activation, signs=i == 0)
            for i, (width, size) in enumerate(zip(widths, hidden, strict=False))
        )
        self.widths = dict.fromkeys(self.tasks, members * widths[-1])

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, k·H]."""
        x = encoded.z.unsqueeze(1).expand(-1, self.members, -1)
        for layer in self.layers:
            x = self.dropout(self.activation(layer(x)))
        h = x.flatten(1)
        self.record(h)
        return dict.fromkeys(self.tasks, h)
