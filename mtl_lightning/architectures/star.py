"""Star topology adaptive recommender: one network for many scenarios."""

from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.architectures.dense import LayerwiseArchitecture
from mtl_lightning.architectures.priors import check_known
from mtl_lightning.interfaces import Encoded, Encoder, FieldName, MtlError, Schema, Sizes
from mtl_lightning.layers import MLP
from mtl_lightning.layers.initialisation import hidden_linear
from mtl_lightning.layers.mlp import ActivationOptions


class StarLayer(nn.Module):
    """A linear layer whose weights in scenario p are W ⊙ W_p and b + b_p.

    The parameter is W_p − 1. At the start every scenario has the shared layer, and weight decay leads back to it.

    Args:
        scenarios: Number P of scenarios.
        in_width: Width of the input.
        out_width: Width of the output.
        activation: Name of the activation that follows.
    """

    def __init__(self, scenarios: int, in_width: int, out_width: int, activation: str) -> None:
        super().__init__()
        self.shared = hidden_linear(in_width, out_width, activation)
        self.scales = nn.Parameter(torch.zeros(scenarios, out_width, in_width))
        self.shifts = nn.Parameter(torch.zeros(scenarios * out_width))

    def parameters_of(self) -> tuple[Tensor, Tensor]:
        """Weights [P, out, in] and biases [P, out] of all scenarios."""
        return self.shared.weight * (1 + self.scales), self.shared.bias + self.shifts.view(len(self.scales), -1)


class STAR(LayerwiseArchitecture):
    """A trunk with shared weights that each scenario scales, and an auxiliary network.

    In scenario p each layer is act((W ⊙ W_p) x + b + b_p), after a normalisation with (γ·γ_p, β + β_p). The output of
    the auxiliary network, a plain MLP over z (which contains the scenario's embedding), is added. The paper normalises
    by batch statistics of the scenario. Here the statistics are taken over the row, so that processes and small
    scenarios agree. All tasks read the trunk.

    Source: Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender", CIKM 2021.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        scenario: Categorical feature with the scenario; without it there is a single scenario.
        hidden: Layer sizes of the trunk; H is the last.
        auxiliary: Layer sizes of the auxiliary network before its output layer.
        options: Options of :class:`~mtl_lightning.architectures.dense.LayerwiseArchitecture`.

    Shapes: z [B, D] → h [B, H], the same for every task.

    Raises:
        MtlError: If the scenario is not a categorical feature.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> STAR(schema, encoder, scenario="scenario", hidden=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        scenario: FieldName | None = None,
        hidden: Sizes = (128, 64),
        auxiliary: Sizes = (32,),
        **options: Unpack[ActivationOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        if scenario is not None:
            check_known("scenario", schema, [scenario])
            if scenario not in schema.id_columns:
                raise MtlError(f"architecture.scenario: {scenario!r} is not categorical")
        self.scenario = scenario
        self.weighted_fields = () if scenario is None else (scenario,)
        self.scenarios = 1 if scenario is None else schema.field(scenario).size
        width = encoder.width
        self.norm_scale = nn.Parameter(torch.zeros((self.scenarios + 1) * width))
        self.norm_shift = nn.Parameter(torch.zeros((self.scenarios + 1) * width))
        activation = self.layer_options["activation"]
        sizes = [width, *hidden]
        self.layers = nn.ModuleList(
            StarLayer(self.scenarios, sizes[i], sizes[i + 1], activation) for i in range(len(hidden))
        )
        self.auxiliary = MLP(width, auxiliary)
        self.output = nn.Linear(self.auxiliary.width, sizes[-1])
        self.widths = dict.fromkeys(self.tasks, sizes[-1])

    def normalise(self, z: Tensor, scenario: Tensor) -> Tensor:
        """Row-wise normalisation with the scenario's scale and shift, [B, D]."""
        width = z.shape[1]
        scale = self.norm_scale.view(-1, width)
        shift = self.norm_shift.view(-1, width)
        scales = (1 + scale[:1]) * (1 + scale[1:])
        return functional.layer_norm(z, (width,)) * scales[scenario] + (shift[:1] + shift[1:])[scenario]

    def trunk(self, x: Tensor, scenario: Tensor) -> Tensor:
        """The layers, each row with its scenario's weights."""
        if torch.compiler.is_compiling():
            # Traced graphs cannot depend on counts: compute every scenario and select.
            rows = torch.arange(x.shape[0], device=x.device)
            for layer in self.layers:
                assert isinstance(layer, StarLayer)
                weight, bias = layer.parameters_of()
                every = torch.einsum("bi,poi->bpo", x, weight) + bias
                x = self.dropout(self.activation(every[rows, scenario]))
            return x
        order = scenario.argsort()
        counts = torch.bincount(scenario, minlength=self.scenarios).tolist()
        x = x[order]
        for layer in self.layers:
            assert isinstance(layer, StarLayer)
            weight, bias = layer.parameters_of()
            parts = zip(x.split(counts), weight.unbind(0), bias.unbind(0), strict=True)
            x = torch.cat([functional.linear(*part) for part in parts])
            x = self.dropout(self.activation(x))
        return x[order.argsort()]

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        z = encoded.z
        if self.scenario is None:
            scenario = torch.zeros(z.shape[0], dtype=torch.int64, device=z.device)
        else:
            scenario = encoded.batch.id(self.scenario)
        h = self.trunk(self.normalise(z, scenario), scenario) + self.output(self.auxiliary(z))
        self.record(h)
        return dict.fromkeys(self.tasks, h)
