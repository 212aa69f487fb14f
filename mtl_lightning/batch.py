"""The records that pass between data, network, losses and metrics.

Shapes: B rows, C categorical and F numeric columns, T tasks, D width of z, K width of a label, L sequence length.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from mtl_lightning.schema import Schema
from mtl_lightning.steps import Steps

__all__ = ["WITHOUT_GROUP", "Auxiliary", "Batch", "Encoded", "Output", "Steps", "Target"]

WITHOUT_GROUP = -(2**63)
"""Group of rows whose grouping column is missing; they form no group and are not ranked with other rows."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """A packed batch of B rows.

    Args:
        schema: Names for the columns below.
        ids: Categorical ids, [B, C] int64; 0 is missing, 1 is out of vocabulary.
        dense: Standardised numerics, [B, F] float.
        labels: Labels, [B, ΣK] float; 0 where unknown.
        mask: True where the task's label is known, [B, T] bool.
        sequences: Ids per sequence field, [B, L] int64, padded with 0 on the right.
        steps: Events per history field.
        vectors: Values per vector field, [B, d] float.
        weight: Sample weight per task, [B, T] float, or None for ones.
        group: Group (user) of each row, [B] int64, ``WITHOUT_GROUP`` where missing; or None.
        raw: Declared raw columns, each [B] float64.
        request: Place of each row's request among the R requests of the batch, [B] int64, ascending; or None. Then
            sequences, steps and vectors of fields that are constant within a request have R rows instead of B.
        request_row: A row of each request, [R] int64, or None.
    """

    schema: Schema
    ids: Tensor
    dense: Tensor
    labels: Tensor
    mask: Tensor
    sequences: dict[str, Tensor] = field(default_factory=dict)
    steps: dict[str, Steps] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None
    group: Tensor | None = None
    raw: dict[str, Tensor] = field(default_factory=dict)
    request: Tensor | None = None
    request_row: Tensor | None = None

    def __len__(self) -> int:
        return self.ids.shape[0]

    def expand(self) -> Self:
        """The same rows without requests: every field has B rows."""
        if self.request is None:
            return self
        index = self.request
        shared = {part.name for part in self.schema.fields if part.per_request}

        def repeat(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: part.index_select(0, index) if name in shared else part for name, part in tensors.items()}

        steps = {
            name: part.moved(lambda tensor: tensor.index_select(0, index)) if name in shared else part
            for name, part in self.steps.items()
        }
        sequences, vectors = repeat(self.sequences), repeat(self.vectors)
        return replace(self, sequences=sequences, vectors=vectors, steps=steps, request=None, request_row=None)

    def id(self, name: str) -> Tensor:
        """Ids of a categorical field, [B]."""
        return self.ids[:, self.schema.id_columns[name]]

    def number(self, name: str) -> Tensor:
        """Values of a numeric field, [B]."""
        return self.dense[:, self.schema.dense_columns[name]]

    def label(self, task: str) -> Tensor:
        """Label slice of a task, [B, K]."""
        return self.labels[:, self.schema.label_slices[task]]

    def known(self, task: str) -> Tensor:
        """True where the task's label is known, [B]."""
        return self.mask[:, self.schema.task_index[task]]

    def task_weight(self, task: str) -> Tensor | None:
        """Sample weights of a task, [B], or None for ones."""
        return None if self.weight is None else self.weight[:, self.schema.task_index[task]]

    def preferring(self, preference: Tensor) -> Self:
        """The batch with equal preferences of the tasks in all rows.

        Args:
            preference: Preference of each task of the schema, [T], on the device of the batch.

        Example:
            >>> from mtl_lightning.schema import Field, Task
            >>> tasks = tuple(Task(name=name, kind="binary", label=name) for name in "ab")
            >>> schema = Schema((Field(name="r", kind="vector", size=2, tasks=("b", "a")),), tasks)
            >>> batch = Batch(schema=schema, ids=torch.zeros(1, 0), dense=torch.zeros(1, 0), labels=torch.zeros(1, 2),
            ...               mask=torch.ones(1, 2, dtype=torch.bool))
            >>> batch.preferring(torch.tensor([0.75, 0.25])).vectors["r"].tolist()
            [[0.25, 0.75]]
        """
        order = self.schema.task_index
        vectors = {
            field.name: torch.stack([preference[order[task]] for task in field.tasks]).to(self.dense.dtype)
            for field in self.schema.fields
            if field.tasks
        }
        filled = {name: values.expand(len(self), -1) for name, values in vectors.items()}
        return replace(self, vectors={**self.vectors, **filled})

    def map(self, function: Any) -> Self:
        """The same batch with ``function`` applied to every tensor."""
        return self._apply(function, lambda steps: steps.map(function))

    def to(self, device: Any, *args: Any, **kwargs: Any) -> Self:
        """The batch on another device (not to another dtype)."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, *args, **kwargs)

        # Times of stored events have 64 bits, which Apple's GPUs cannot hold; gaps have 32.
        narrow = torch.device(device).type == "mps"
        return self._apply(move, lambda steps: steps.map(move) if narrow else steps.moved(move))

    def pin_memory(self) -> Self:
        """The batch in pinned memory."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.pin_memory()

        return self.moved(move)

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """The same batch in other memory; histories stay windows of stored events.

        Args:
            move: Returns a tensor of the same values and type.
        """
        return self._apply(move, lambda steps: steps.moved(move))

    def _apply(self, function: Callable[[Tensor], Any], to_steps: Callable[[Steps], Steps]) -> Self:
        def walk(value: Any) -> Any:
            if isinstance(value, Tensor):
                return function(value)
            if isinstance(value, Steps):
                return to_steps(value)
            return {key: walk(item) for key, item in value.items()} if isinstance(value, dict) else value

        return replace(self, **{part.name: walk(getattr(self, part.name)) for part in fields(self)})


@dataclass(slots=True)
class Encoded:
    """Output of an encoder.

    Args:
        z: The representation, [B, D]: the only differentiable tensor that the architecture receives.
        batch: The batch, for ids and raw columns without gradient.
        slices: Slice of z per field; empty where fields are mixed.
        copies: Number of equal slices of z, one per table copy (see :meth:`Architecture.table_copies`).
    """

    z: Tensor
    batch: Batch
    slices: Mapping[str, slice] = field(default_factory=dict)
    copies: int = 1

    def field(self, name: str) -> Tensor:
        """The part of z that comes from one field, [B, width]."""
        return self.z[:, self.slices[name]]

    def copy(self, index: int) -> Tensor:
        """The part of z made from table copy ``index``, [B, D / copies]."""
        width = self.z.shape[1] // self.copies
        return self.z[:, index * width : (index + 1) * width]


@dataclass(slots=True)
class Auxiliary:
    """An objective of an encoder in addition to the losses of tasks.

    Args:
        values: Loss per row, [B]; averaged over all rows of the global batch. A row must not depend on other rows.
        weight: Factor of the mean in the objective.
    """

    values: Tensor
    weight: float


@dataclass(slots=True)
class Output:
    """Output of a head.

    Args:
        logit: [B, K'] in the space in which the loss works.
        hidden: The task's last hidden state, [B, h], for cascades.
        penalty: Extra term of the loss per row, [B]; averaged over all rows of the global batch.
        extra: Further tensors for the losses of this task and of its children.
        link: Maps labels to the space of ``logit`` (a scale, a logarithm), or None where they are in it.
        members: Outputs of an ensemble's members (:attr:`Architecture.members`); empty where there is no ensemble.
    """

    logit: Tensor
    hidden: Tensor | None = None
    penalty: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)
    link: Callable[[Tensor], Tensor] | None = None
    members: tuple["Output", ...] = ()


@dataclass(slots=True)
class Target:
    """Labels of one task, for losses and metrics.

    Args:
        label: [B, K] float; 0 where unknown.
        mask: True where known, [B].
        weight: Sample weights, [B], or None for ones.
        count: Sum of mask × weight over the *global* batch, divided by the number of processes; a scalar, or None
            outside training (then the local sum is used).
        rows: Rows of the global batch divided by the number of processes; a scalar, or None as above.
        group: As in :class:`Batch`.
        raw: Declared raw columns, each [B].
        details: What the task's head adds to its prediction, for metrics (:meth:`Head.details`), each [B, …].
    """

    label: Tensor
    mask: Tensor
    weight: Tensor | None = None
    count: Tensor | None = None
    rows: Tensor | None = None
    group: Tensor | None = None
    raw: dict[str, Tensor] = field(default_factory=dict)
    details: dict[str, Tensor] = field(default_factory=dict)
    unknown: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    """The opposite of ``mask``, once it is needed."""

    def known(self, values: Tensor) -> Tensor:
        """``values`` [B, …] with unknown rows set to zero and cut from the graph."""
        if self.unknown is None:
            self.unknown = ~self.mask
        # Filled, and not chosen by `where`: its gradient takes one kernel, not two.
        return values.masked_fill(self.unknown.view(-1, *[1] * (values.dim() - 1)), 0)

    def mean(self, values: Tensor) -> Tensor:
        """Weighted mean over known labels of the global batch; a connected zero if no label is known.

        Args:
            values: One value per row, [B]. Values of unknown rows may be anything, also infinite.
        """
        known = self.known(values)
        if self.weight is not None:
            known = known * self.weight
        if self.count is not None:
            count = self.count
        else:
            count = (self.mask if self.weight is None else self.mask * self.weight).sum()
        return known.sum() / (count + (count <= 0)).to(values.dtype)

    def row_mean(self, values: Tensor) -> Tensor:
        """Mean over all rows of the global batch, known or not."""
        return values.sum() / (float(values.shape[0]) if self.rows is None else self.rows.to(values.dtype))
