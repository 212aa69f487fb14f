"""Bases of architectures made of dense layers: their options, tasks and gates."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Unpack

from torch import Tensor, nn

from mtl_lightning.interfaces import Architecture, DropRate, Encoder, Schema
from mtl_lightning.layers.batched import BatchedLinear
from mtl_lightning.layers.mlp import Activation, ActivationOptions, LayerOptions, Norm, make_activation


class DenseArchitecture(Architecture):
    """An architecture whose hidden layers share activation, dropout and normalisation.

    A subclass passes ``layer_options`` to its layers: ``Experts(count, width, hidden, **self.layer_options)``.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        activation: Activation of the hidden layers.
        dropout: Dropout in the hidden layers.
        norm: Normalisation in the hidden layers.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, _ = example(tasks=2)
        >>> class Trunk(DenseArchitecture):
        ...     def forward(self, encoded):
        ...         return dict.fromkeys(self.tasks, encoded.z)
        >>> trunk = Trunk(schema, encoder, dropout=0.1)
        >>> trunk.tasks, trunk.layer_options
        (('a', 'b'), {'activation': 'relu', 'dropout': 0.1, 'norm': 'none'})
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        activation: Activation = "relu",
        dropout: DropRate = 0.0,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.gates = {}
        self.tasks = tuple(schema.task_index)
        self.layer_options: LayerOptions = {"activation": activation, "dropout": dropout, "norm": norm}

    def record(self, *shared: Tensor, gates: Mapping[str, Tensor] | None = None) -> None:
        """Keep what was asked for: the tensors that tasks share, and the weights of gates by name, detached."""
        if self.keep_shared and shared:
            self.shared = shared
        if self.keep_gates and gates:
            self.gates = {name: gate.detach() for name, gate in gates.items()}


class LayerwiseArchitecture(DenseArchitecture):
    """A dense architecture that applies activation and dropout itself, after layers of its own.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        options: Options of :class:`DenseArchitecture`, normalisation excluded.
    """

    def __init__(self, schema: Schema, encoder: Encoder, **options: Unpack[ActivationOptions]) -> None:
        super().__init__(schema, encoder, **options)
        self.activation = make_activation(self.layer_options["activation"])
        self.dropout = nn.Dropout(self.layer_options["dropout"])

    def task_layers(self, sizes: Sequence[int]) -> nn.ModuleList:
        """A batched layer, with weights per task, for every two neighbouring sizes."""
        count, activation = len(self.tasks), self.layer_options["activation"]
        return nn.ModuleList(BatchedLinear(count, *pair, activation=activation) for pair in pairwise(sizes))


class ExpertOptions(LayerOptions, total=False):
    """Options of every :class:`ExpertArchitecture`; a subclass ends its constructor with ``Unpack[ExpertOptions]``."""

    gate_dropout: DropRate


class ExpertArchitecture(DenseArchitecture):
    """A dense architecture whose softmax gates mix experts.

    Args:
        schema: Fitted schema.
        encoder: Built encoder of width D.
        gate_dropout: Probability of leaving an expert out of a row's gate in training, against expert collapse.
        options: Options of :class:`DenseArchitecture`.
    """

    def __init__(
        self, schema: Schema, encoder: Encoder, *, gate_dropout: DropRate = 0.0, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.gate_dropout = gate_dropout
