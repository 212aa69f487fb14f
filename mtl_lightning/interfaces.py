"""Everything a plugin author imports: the contracts between data, network, losses and weighters.

Shapes: B rows, C categorical and F numeric columns, T tasks; widths D of z, H of a task's representation, K of a label.
A component's constructor takes its context positionally and its options as keyword-only arguments: the options, their
types and defaults are the schema of its configuration.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from mtl_lightning.batch import Batch, Encoded, Output, Steps, Target
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.schema import FIELD_KINDS, PADDING, TASK_KINDS, UNKNOWN, ColumnName, Field, FieldName, Schema, Task

if TYPE_CHECKING:
    import datasets

__all__ = [
    "FIELD_KINDS",
    "PADDING",
    "TASK_KINDS",
    "UNKNOWN",
    "Architecture",
    "Batch",
    "ColumnName",
    "DataError",
    "Encoded",
    "Encoder",
    "Field",
    "FieldName",
    "Head",
    "Loss",
    "MtlError",
    "Output",
    "RawSchema",
    "Schema",
    "Source",
    "Step",
    "Steps",
    "Target",
    "Task",
    "TaskMetric",
    "Weighter",
]


class Encoder(nn.Module, ABC):
    """Batch → z. Constructor: ``(schema, copies, *, options)``; sets ``width`` (D) and builds ``copies`` table sets."""

    width: int
    slices: Mapping[str, slice] = MappingProxyType({})
    """Slice of z per field; empty where fields are mixed (``hidden``). Architectures that gate by a field read it."""

    def table_parameters(self) -> list[nn.Parameter]:
        """Parameters with sparse row gradients; they take the table optimizer and the sparse exchange."""
        return []

    def table_places(self, schema: Schema) -> list[dict[str, list[int]]]:
        """Where ids would lie in each table parameter if these options had been built for a schema.

        Per vocabulary the row of id 0 in each of its copies: id i lies i rows further. An encoder that is silent can't
        go on from a run whose vocabularies were smaller.
        """
        return []

    @abstractmethod
    def forward(self, batch: Batch) -> Encoded:
        """Encode a batch."""


class Architecture(nn.Module, ABC):
    """z → one representation per task. Constructor: ``(schema, encoder, *, options)``; sets ``widths`` (H per task)."""

    widths: dict[str, int]
    keep_gates: bool = False
    gates: dict[str, Tensor]
    penalty: Tensor | None = None
    """Extra term of the objective per row, [B], set by a training forward of a method that has one (an entropy)."""

    @classmethod
    def table_copies(cls, tasks: int, **options: Any) -> int:
        """How many sets of embedding tables these options want."""
        return 1

    @abstractmethod
    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""


class Head(nn.Module, ABC):
    """h → Output. Constructor: ``(task, width, parents, *, options)``; ``parents`` maps names to their built heads."""

    kinds: ClassVar[frozenset[str]]
    """Task kinds that the head can serve."""
    loss: ClassVar[str]
    nonnegative: bool = False
    """The loss used when the recipe names none, and whether labels must be at least 0: runs with others are refused."""
    hidden_width: int = 0
    mean: float | None = None
    """Both for heads of child tasks: width of ``Output.hidden``; mean of the task's training labels if it is known."""

    @abstractmethod
    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Compute the task's output from its representation [B, H], its parents' outputs and declared raw columns."""

    @abstractmethod
    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """The value users see (a probability, seconds, a count): [B], or [B, K] for several classes."""


class Loss(nn.Module, ABC):
    """One task's loss. Constructor: ``(task, *, options)``."""

    kinds: ClassVar[frozenset[str]]
    heads: ClassVar[frozenset[str] | None] = None
    """Names of the heads whose outputs it can read, besides those that name it as their default; None for all."""

    @abstractmethod
    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Scalar loss: a mean over known labels of the global batch (:meth:`Target.mean`)."""


@runtime_checkable
class Step(Protocol):
    """What a weighter can ask for; nothing is computed before it is asked for."""

    tasks: tuple[str, ...]
    index: int

    @property
    def losses(self) -> Tensor:
        """This process's losses with graph, [T]; their mean over processes is the global loss."""

    @property
    def values(self) -> Tensor:
        """Global losses, detached, equal on all processes, [T]."""

    @property
    def jacobian(self) -> Tensor:
        """Gradients of this process's losses at the seam, [T, B, D], detached."""

    @property
    def gramian(self) -> Tensor:
        """Inner products of the tasks' global gradients at the seam, [T, T], equal on all processes."""

    @property
    def generator(self) -> torch.Generator:
        """Random numbers that are equal on all processes and depend on the seed and the step only."""

    def reduce(self, tensor: Tensor) -> Tensor:
        """Sum of a tensor over processes."""

    def seam(self, gradient: Tensor, weights: Tensor | None = None) -> Tensor:
        """The objective whose gradient at z is ``gradient`` [B, D], and above z that of the sum, weighted if asked."""


class Weighter(nn.Module, ABC):
    """The tasks' losses → one objective. Constructor: ``(tasks, *, options)`` with ``tasks`` a tuple of names.

    State lives in buffers; control flow depends only on ``step.values``, ``step.gramian`` and ``step.index``.
    """

    needs_losses_after_step: bool = False
    """True if :meth:`after_step` must be called with the losses of this batch after the update; may change per step."""
    gradients_at: str = "seam"
    """Where ``step.jacobian`` is taken: ``seam`` (z), ``parameters``, or a pattern over names of parameters."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Scalar objective with graph; one backward of it is the update."""

    def after_step(self, values: Tensor) -> None:
        """Called with the global losses [T] of the same batch after the update (:attr:`needs_losses_after_step`)."""

    def report(self) -> dict[str, float]:
        """The last weight of each task, for logs; empty if the method has none."""
        return {}


class TaskMetric(Metric, ABC):
    """One number about one task, exact across processes. Constructor: ``(task, *, options)``.

    State is added with ``add_state(..., dist_reduce_fx="sum")`` or ``"cat"``; only rows with ``target.mask`` count.
    """

    kinds: ClassVar[frozenset[str]]
    full_state_update = False

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    @abstractmethod
    def update(self, prediction: Tensor, target: Target) -> None:
        """Add a batch: ``prediction`` is what :meth:`Head.predict` gives, [B] or [B, K]."""

    @abstractmethod
    def compute(self) -> Tensor:
        """The value, a scalar; NaN where it is not defined (one class only, no rows)."""


@dataclass(frozen=True, kw_only=True)
class RawSchema:
    """What a source says of its rows, and what it suggests for a recipe that is silent.

    Args:
        columns: Raw column names and their Arrow types as strings.
        features: Suggested features, in the form of a recipe's ``features``.
        tasks: Suggested tasks, in the form of a recipe's ``tasks``.
        splits: Names of the splits that the source itself defines; empty if it is one table.
        time: Column that orders rows in time, or None.
        group: Column that identifies the user, or None.
        after_event: Columns known only after the event: labels or leaks, never features.
        oracle: Columns with true probabilities, which no feature may use.
    """

    columns: dict[str, str]
    features: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Any] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    time: str | None = None
    group: str | None = None
    after_event: tuple[str, ...] = ()
    oracle: tuple[str, ...] = ()


class Source(ABC):
    """A log of exposures. Constructor: ``(*, options)``. Reading is lazy: constructing a source reads nothing."""

    @abstractmethod
    def schema(self) -> RawSchema:
        """Columns and suggestions; may read a header or a footer. Raises DataError with the file's name."""

    @abstractmethod
    def rows(self, split: str | None = None) -> "datasets.Dataset | datasets.IterableDataset":
        """The rows of one of the source's own splits, or of the whole table (None)."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A string that changes when the rows change (options, and size and time of files)."""
