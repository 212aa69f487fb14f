"""Deep Bayesian multi-task learning: representations that follow the task graph."""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.interfaces import Encoded, Encoder, Schema, Sizes
from mtl_lightning.layers import MLP
from mtl_lightning.layers.mlp import LayerOptions


class DBMTL(DenseArchitecture):
    """Tasks conditioned on their parents' representations: h_t = r_t([s_t(f(z)), h_p for the parents p]).

    The graph is given by the tasks' ``parents``: P(l_1, …, l_T | x) = Π_t P(l_t | x, parents). Tasks are conditioned on
    hidden states rather than on labels. A task without parents has h_t = r_t(s_t(f(z))).

    Source: Wang et al., "Deep Bayesian Multi-Target Learning for Recommender Systems", 2019 (arXiv 1902.09154).

    Args:
        schema: Fitted schema, tasks with parents after them.
        encoder: Built encoder of width D.
        hidden: Layer sizes of the shared trunk f.
        tower: Layer sizes of each task's tower s_t.
        relation: Layer sizes of each task's relation layer r_t; H is the last.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, H].

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> schema, encoder, batch = example(tasks=2)
        >>> DBMTL(schema, encoder, relation=[8])(encoder(batch))["a"].shape
        torch.Size([4, 8])
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        hidden: Sizes = (128,),
        tower: Sizes = (64,),
        relation: Sizes = (32,),
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        self.parents = {task.name: task.parents for task in schema.tasks}

        def mlp(width: int, sizes: Sequence[int]) -> MLP:
            return MLP(width, sizes, **self.layer_options)

        self.trunk = mlp(encoder.width, hidden)
        self.towers = nn.ModuleDict({task: mlp(self.trunk.width, tower) for task in self.parents})
        self.relations = nn.ModuleDict()
        self.widths = {}
        for task, parents in self.parents.items():
            own = tower[-1] if tower else self.trunk.width
            layer = mlp(own + sum(self.widths[parent] for parent in parents), relation)
            self.relations[task] = layer
            self.widths[task] = layer.width

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        shared = self.trunk(encoded.z)
        self.record(shared)
        h: dict[str, Tensor] = {}
        for task, parents in self.parents.items():
            known = [self.towers[task](shared), *(h[parent] for parent in parents)]
            h[task] = self.relations[task](torch.cat(known, dim=1))
        return h
