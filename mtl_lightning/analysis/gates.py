"""Use of experts by tasks, from the gate weights that architectures keep on request."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mtl_lightning.distributed import world_size

WIDEST = 64
"""Largest width at which gates that are not mixtures are reported by element; wider ones by their mean only."""


class GateUse:
    """Mean weights of gates over rows.

    A gate whose weights are non-negative and sum to one is a mixture of experts. For mixtures the summary has three
    values: the mean weight of each expert, the share of rows for which each expert has the largest weight, and the
    evenness. Evenness is the mean entropy divided by its maximum (1: equal weights; 0: one expert per row). Other gates
    scale features or layers, and only their means are reported.

    Example:
        >>> use = GateUse()
        >>> use.update({"click": torch.tensor([[1.0, 0.0], [0.5, 0.5]])})
        >>> use.summary()["click"]
        {'rows': 2, 'mean': [0.75, 0.25], 'largest': [1.0, 0.0], 'evenness': 0.5}
    """

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.sums: dict[str, Tensor] = {}
        self.largest: dict[str, Tensor] = {}
        self.entropy: dict[str, Tensor] = {}
        self.mixture: dict[str, Tensor] = {}

    def update(self, gates: Mapping[str, Tensor]) -> None:
        """Add the gates of a batch, each [B, E] by name."""
        for name, gate in gates.items():
            weights = gate.detach().float()
            if not len(weights):
                continue
            mixes = (weights >= 0).all() & ((weights.sum(1) - 1).abs() < 1e-2).all()
            first = weights.argmax(1)
            counts = first.new_zeros(weights.shape[1]).scatter_add_(0, first, torch.ones_like(first))
            entropy = torch.where(mixes, -torch.special.xlogy(weights, weights).sum(), 0.0).double()
            self._add(name, len(weights), weights.double().sum(0), counts, entropy, mixes)

    def _add(self, name: str, rows: int, sums: Tensor, largest: Tensor, entropy: Tensor, mixes: Tensor) -> None:
        if name not in self.rows:
            self.rows[name], self.sums[name], self.largest[name] = rows, sums, largest
            self.entropy[name], self.mixture[name] = entropy, mixes
            return
        self.rows[name] += rows
        self.sums[name] = self.sums[name] + sums
        self.largest[name] = self.largest[name] + largest
        self.entropy[name] = self.entropy[name] + entropy
        self.mixture[name] = self.mixture[name] & mixes

    def reduced(self) -> "GateUse":
        """Use over the rows of all processes, including gates that this process has not seen; a collective."""
        if world_size() == 1:
            return self
        parts: list[Any] = [None] * world_size()
        columns = {name: value for name, value in vars(self).items() if name != "rows"}
        host = {name: {gate: tensor.cpu() for gate, tensor in column.items()} for name, column in columns.items()}
        dist.all_gather_object(parts, {"rows": self.rows, **host})
        merged = GateUse()
        for part in parts:
            for name, rows in part["rows"].items():
                merged._add(name, rows, *(part[column][name] for column in ("sums", "largest", "entropy", "mixture")))
        return merged

    def summary(self) -> dict[str, Any]:
        """Per gate: rows and mean weight per expert; for mixtures also the share of rows led and the evenness."""
        summary: dict[str, Any] = {}
        for name, rows in self.rows.items():
            mean = (self.sums[name] / rows).tolist()
            if self.mixture[name] and len(mean) > 1:
                evenness = float(self.entropy[name]) / rows / float(torch.tensor(float(len(mean))).log())
                led = (self.largest[name].double() / rows).tolist()
                summary[name] = {"rows": rows, "mean": mean, "largest": led, "evenness": evenness}
            else:
                summary[name] = {"rows": rows, "mean": mean if len(mean) <= WIDEST else [sum(mean) / len(mean)]}
        return summary
