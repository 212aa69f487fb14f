"""Parameter and embedding personalised network."""

from collections.abc import Sequence
from typing import Unpack, cast

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.dense import LayerwiseArchitecture
from mtl_lightning.architectures.priors import check_priors, prior_parts
from mtl_lightning.interfaces import Encoded, Encoder, FieldName, PositiveInt, Schema, Sizes
from mtl_lightning.layers import MLP
from mtl_lightning.layers.mlp import ActivationOptions


class GateUnit(nn.Module):
    """2σ(W₂ ReLU(W₁ x)): factors in (0, 2), near 1 at the start.

    Args:
        in_width: Width of the input.
        hidden: Width of the hidden layer.
        outputs: Number of factors.
    """

    def __init__(self, in_width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.hidden = MLP(in_width, [hidden])
        self.output = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Factors, [B, outputs]."""
        return self.factors(self.hidden(x))

    def factors(self, hidden: Tensor) -> Tensor:
        """Factors, [B, outputs], from the hidden layer's values."""
        score: Tensor = self.output(hidden)
        return 2 * score.sigmoid()


class PEPNet(LayerwiseArchitecture):
    """Gates from priors scale the embeddings (EPNet) and every layer of every task's tower (PPNet).

    EPNet: z' = 2σ(MLP([scenario, sg(z)])) ⊙ z. PPNet: x_t^{l+1} = act(W_t^l (2σ(MLP_l([priors, sg(z')]))_t ⊙ x_t^l)).
    sg is the stop-gradient: embeddings get no gradient through the gates' input. The architecture contains the towers,
    so heads should have ``hidden: []``. The tasks share z' last, and the hidden values of PPNet's gates.

    Source: Chang et al., "PEPNet: Parameter and Embedding Personalized Network", KDD 2023.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        scenario: Feature that identifies the domain, for EPNet; without it the gate reads z alone.
        priors: Features that identify user, item and author, for PPNet; without any the gates read z' alone.
        hidden: Layer sizes of each task's tower; H is the last.
        gate_hidden: Width of the gates' hidden layers.
        options: Options of :class:`~mtl_lightning.architectures.dense.LayerwiseArchitecture`.

    Shapes: z [B, D] → h_t [B, H]. Gates, kept when asked: [B, D] under ``embedding``, and [B, width of the layer's
    input] under ``<task>/layer<i>``.

    Raises:
        MtlError: If a prior is not a feature, or has no part of z of its own.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> pepnet = PEPNet(schema, encoder, scenario="scenario", priors=["user", "item"], hidden=[8])
        >>> pepnet(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        scenario: FieldName | None = None,
        priors: Sequence[FieldName] = (),
        hidden: Sizes = (128, 64, 32),
        gate_hidden: PositiveInt = 32,
        **options: Unpack[ActivationOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.scenarios = () if scenario is None else (scenario,)
        self.priors = tuple(priors)
        count, width = len(self.tasks), encoder.width
        self.embedding_gate = GateUnit(
            check_priors("scenario", schema, encoder, self.scenarios) + width, gate_hidden, width
        )
        code = check_priors("priors", schema, encoder, self.priors) + width
        sizes = [width, *hidden]
        self.layers = self.task_layers(sizes)
        self.layer_gates = nn.ModuleList(GateUnit(code, gate_hidden, count * sizes[i]) for i in range(len(hidden)))
        self.widths = dict.fromkeys(self.tasks, sizes[-1])

    def _gates(self) -> list[GateUnit]:
        return cast(list[GateUnit], list(self.layer_gates))

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        factors = self.embedding_gate(prior_parts(encoded, self.scenarios, encoded.z.detach()))
        z = factors * encoded.z
        code = prior_parts(encoded, self.priors, z.detach())
        hidden = [gate.hidden(code) for gate in self._gates()]
        if self.keep_shared:
            self.shared = (z, *hidden)
        if self.keep_gates:
            self.gates = {"embedding": factors.detach()}
        x = z.unsqueeze(0).expand(len(self.tasks), -1, -1)
        for i, (layer, gate) in enumerate(zip(self.layers, self._gates(), strict=True)):
            scales = torch.stack(gate.factors(hidden[i]).chunk(len(self.tasks), dim=1))
            if self.keep_gates:
                parts = zip(self.tasks, scales.detach().unbind(0), strict=True)
                self.gates |= {f"{task}/layer{i}": part for task, part in parts}
            x = self.dropout(self.activation(layer(scales * x)))
        return dict(zip(self.tasks, x.unbind(0), strict=True))
