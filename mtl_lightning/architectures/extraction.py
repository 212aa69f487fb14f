"""Extraction layers of CGC and PLE: experts per task and shared ones, mixed by gates per task."""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.layers import Gates
from mtl_lightning.layers.mlp import Experts, LayerOptions, mixture


class Extraction(nn.Module):
    """One level: task t mixes its own experts and the shared ones; the shared group mixes all, unless it is last.

    Args:
        tasks: Number T of tasks.
        in_width: Width of each group's input.
        own: Experts per task.
        shared: Shared experts.
        hidden: Layer sizes of each expert; H is the last.
        first: Whether all groups read one input, so that experts and gates are one matrix product each.
        last: Whether this is the last level, so that the shared group needs no gate.
        gate_dropout: Dropout of :class:`~mtl_lightning.layers.mlp.Gates`.
        options: Activation, dropout and normalisation of the experts.

    Shapes: one input [B, in_width] or T + 1 of them → T (``last``) or T + 1 outputs [B, H], and their gates, each
    [B, own + shared] with the task's own experts first; the shared group's is [B, T·own + shared].

    Example:
        >>> outputs, gates, crossed = Extraction(2, 4, 1, 2, [8], first=True, last=False)([torch.zeros(5, 4)])
        >>> len(outputs), outputs[0].shape, [tuple(gate.shape) for gate in gates]
        (3, torch.Size([5, 8]), [(5, 3), (5, 3), (5, 4)])
    """

    def __init__(
        self,
        tasks: int,
        in_width: int,
        own: int,
        shared: int,
        hidden: Sequence[int],
        *,
        first: bool,
        last: bool,
        gate_dropout: float = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__()
        self.counts = [own] * tasks + ([shared] if shared else [])
        self.tasks, self.own, self.first, self.last = tasks, own, first, last
        groups = [sum(self.counts)] if first else self.counts
        self.experts = nn.ModuleList(Experts(count, in_width, hidden, **options) for count in groups)
        choices = own + shared
        gates = [Gates(in_width, tasks, choices, dropout=gate_dropout)] if first else [
            Gates(in_width, 1, choices, dropout=gate_dropout) for _ in range(tasks)
        ]  # fmt: skip
        self.task_gates = nn.ModuleList(gates)
        has_shared_gate = shared > 0 and not last
        self.shared_gate = Gates(in_width, 1, sum(self.counts), dropout=gate_dropout) if has_shared_gate else None
        self.width = hidden[-1]

    def forward(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...]]:
        """Outputs and gates of every group, and the tensors that every path to a task's output crosses."""
        if self.first:
            every, weights = self.experts[0](inputs[0]), self.task_gates[0](inputs[0])
            groups, gates = list(every.split(self.counts, dim=1)), list(weights.unbind(1))
            crossed = (every, weights)
        else:
            groups = [experts(x) for experts, x in zip(self.experts, inputs, strict=True)]
            gates = [gate(x)[:, 0] for gate, x in zip(self.task_gates, inputs, strict=False)]
            crossed = (*groups, *gates)
        shared = groups[self.tasks] if len(groups) > self.tasks else None
        outputs = []
        for weights, own in zip(gates, groups, strict=False):
            mixed = mixture(weights[:, : self.own], own)
            outputs.append(mixed if shared is None else mixed + mixture(weights[:, self.own :], shared))
        if self.shared_gate is not None:
            weights = self.shared_gate(inputs[-1])[:, 0]
            gates.append(weights)
            outputs.append(mixture(weights, torch.cat(groups, dim=1)))
        return outputs, gates, crossed
