"""Personalised modules for cold-start users."""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.architectures.priors import check_priors, prior_parts
from mtl_lightning.interfaces import Encoded, Encoder, FieldName, PositiveInt, Schema, Sizes
from mtl_lightning.layers import MLP
from mtl_lightning.layers.mlp import ActivationOptions, Experts, mixture


class POSO(DenseArchitecture):
    """Layers in several copies, mixed by gates that read only the prior (such as the age of a user's account).

    x' = C · Σ_i g_i(c) act(W_i x) with the personalisation code c and gates g = σ(MLP(c)) in (0, 1). Features that few
    rows have (new users) can thus change the network, although common ones dominate its input. C = 2 / copies keeps the
    mean of a plain layer at the start, where g ≈ ½; differences between copies average out. The trunk is shared, and so
    are its gates.

    Source: Dai et al., "POSO: Personalized Cold Start Modules for Large-scale Recommender Systems", 2021
    (arXiv 2108.04690).

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        priors: Features that make up the code; without any the code is z itself, without gradient.
        copies: Copies of each layer.
        hidden: Layer sizes of the trunk; H is the last.
        gate_hidden: Width of the gates' hidden layer.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h [B, H], the same for every task; gates, kept when asked, [B, copies] under ``layer<i>``.

    Raises:
        MtlError: If a prior is not a feature, or has no part of z of its own.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> POSO(schema, encoder, priors=["user"], hidden=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        priors: Sequence[FieldName] = (),
        copies: PositiveInt = 4,
        hidden: Sizes = (128, 64),
        gate_hidden: PositiveInt = 32,
        **options: Unpack[ActivationOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.priors = tuple(priors)
        self.copies = copies
        code = check_priors("priors", schema, encoder, self.priors) if self.priors else encoder.width
        self.layers = nn.ModuleList()
        width = encoder.width
        for size in hidden:
            self.layers.append(Experts(copies, width, [size], **self.layer_options))
            width = size
        self.code = MLP(code, [gate_hidden] if hidden else [])  # no layers, no gates
        self.layer_gates = nn.ModuleList(nn.Linear(gate_hidden, copies) for _ in hidden)
        self.widths = dict.fromkeys(self.tasks, width)

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        code = self.code(prior_parts(encoded, self.priors) if self.priors else encoded.z.detach())
        x = encoded.z
        for i, (layer, gate) in enumerate(zip(self.layers, self.layer_gates, strict=True)):
            weights = gate(code).sigmoid()
            if self.keep_gates:
                self.gates[f"layer{i}"] = weights.detach()
            x = mixture(weights, layer(x)) * (2 / self.copies)
        self.record(x)
        return dict.fromkeys(self.tasks, x)
