"""A shared bottom per group of tasks."""

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from torch import Tensor

from mtl_lightning.architectures.copies import check_copies
from mtl_lightning.architectures.dense import DenseArchitecture
from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.interfaces import Encoded, Encoder, NonNegativeInt, Schema, Sizes
from mtl_lightning.layers.mlp import Experts, LayerOptions


class TaskGroups(DenseArchitecture):
    """A network per group of tasks, with tables of its own: h_t = f_g(z_g) for each task t of group g.

    Tasks of different groups share nothing. One group is a shared bottom, a group per task the single-task models.

    Source: Standley et al., "Which Tasks Should Be Learned Together in Multi-task Learning?", ICML 2020.

    Args:
        schema: Fitted schema.
        encoder: Built encoder with a table set per group.
        groups: Number of each task's group, such as ``{like: 0, save: 0, hide: 1}``; other tasks are in group 0.
        hidden: Layer sizes of each group's trunk; H is the last.
        options: Options of :class:`~mtl_lightning.architectures.dense.DenseArchitecture`.

    Shapes: z [B, D] → h_t [B, H], the same tensor for the tasks of a group.

    Raises:
        MtlError: If ``groups`` names an unknown task, or if there are several groups and the encoder mixes their
            tables in an MLP.

    Example:
        >>> from mtl_lightning.architectures.example import example
        >>> groups = {"a": 0, "b": 1, "c": 0}
        >>> schema, encoder, batch = example(tasks=3, copies=TaskGroups.table_copies(3, groups=groups))
        >>> h = TaskGroups(schema, encoder, groups=groups, hidden=[8])(encoder(batch))
        >>> h["a"] is h["c"], h["b"].shape
        (True, torch.Size([4, 8]))
    """

    def __init__(
        self,
        schema: Schema,
        encoder: Encoder,
        *,
        groups: Mapping[str, NonNegativeInt] | None = None,
        hidden: Sizes = (128, 64),
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(schema, encoder, **options)
        chosen = dict(groups or {})
        for name in chosen:
            if name not in self.tasks:
                raise MtlError(f"architecture.groups: no task {name!r}", did_you_mean(name, self.tasks))
        numbers = [chosen.get(task, 0) for task in self.tasks]
        order = sorted(set(numbers))
        self.places = {task: order.index(number) for task, number in zip(self.tasks, numbers, strict=True)}
        width = check_copies("task_groups", encoder, len(order))
        self.trunks = Experts(len(order), width, hidden, **self.layer_options)
        self.widths = dict.fromkeys(self.tasks, self.trunks.width)

    @classmethod
    def table_copies(cls, tasks: int, **options: Any) -> int:
        """One set of tables per group."""
        groups = options.get("groups") or {}
        return len({*groups.values(), *([0] if len(groups) < tasks else [])})

    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""
        z, count = encoded.z, self.trunks.count
        h = self.trunks(z if count == 1 else torch.stack([encoded.copy(i) for i in range(count)])).unbind(1)
        self.record(*h)
        return {task: h[place] for task, place in self.places.items()}
