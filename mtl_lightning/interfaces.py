"""Everything a plugin author imports: contracts of components, base classes, bounds of options, records and errors.

Shapes: B rows, C categorical and F numeric columns, T tasks; widths D of z, H of a task's representation, K of a label.
A component's constructor takes its context positionally and its options as keyword-only arguments. The options, their
types and defaults are the schema of its configuration.

Base classes and helpers of other modules are imported when they are first used, so that this module stays light.

Example:
    >>> from mtl_lightning.interfaces import GramianWeighter, PositiveInt, TrainingStep
    >>> GramianWeighter.__module__, TrainingStep.__module__
    ('mtl_lightning.weighters.bases.gramian', 'mtl_lightning.training.step')
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from mtl_lightning.batch import Auxiliary, Batch, Encoded, Output, Steps, Target
from mtl_lightning.bounds import (
    Bounds,
    DropRate,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    Sizes,
)
from mtl_lightning.errors import ConfigError, DataError, MtlError
from mtl_lightning.options import write_inherited
from mtl_lightning.schema import FIELD_KINDS, PADDING, TASK_KINDS, UNKNOWN, ColumnName, Field, FieldName, Schema, Task

if TYPE_CHECKING:
    import datasets

    from mtl_lightning.architectures.dense import (
        DenseArchitecture,
        ExpertArchitecture,
        ExpertOptions,
        LayerwiseArchitecture,
    )
    from mtl_lightning.data.arrow.columns import Block, as_written, column
    from mtl_lightning.data.arrow.numbers import numbers
    from mtl_lightning.data.features.base import (
        CachingTransform,
        ColumnFeature,
        Feature,
        StatelessTransform,
        Transform,
        check,
    )
    from mtl_lightning.encoders.embedding import EmbeddingEncoder
    from mtl_lightning.executors.base import Executor
    from mtl_lightning.fitting.failures import TrainingError
    from mtl_lightning.heads.tower import Tower, TowerHead, TowerOptions
    from mtl_lightning.launchers.base import Launcher, LaunchError
    from mtl_lightning.layers.mlp import MLP, Activation, ActivationOptions, Experts, Gates, LayerOptions, Norm
    from mtl_lightning.losses.linked import LinkedLoss
    from mtl_lightning.training.sharded import ShardedEncoder
    from mtl_lightning.training.step import Step as TrainingStep
    from mtl_lightning.weighters.bases.gramian import GramianOptions, GramianWeighter, Scope, SeamOptions
    from mtl_lightning.weighters.bases.jacobian import JacobianOptions, JacobianWeighter
    from mtl_lightning.weighters.bases.loss_based import LossWeighter
    from mtl_lightning.weighters.bases.offset import OffsetWeighter
    from mtl_lightning.weighters.bases.paired import PairedWeighter
    from mtl_lightning.weighters.bases.preference import PreferenceWeighter

__all__ = [
    "FIELD_KINDS",
    "MLP",
    "PADDING",
    "TASK_KINDS",
    "UNKNOWN",
    "Activation",
    "ActivationOptions",
    "Architecture",
    "Auxiliary",
    "Batch",
    "Block",
    "Bounds",
    "CachingTransform",
    "ColumnFeature",
    "ColumnName",
    "ConfigError",
    "DataError",
    "DenseArchitecture",
    "DropRate",
    "EmbeddingEncoder",
    "Encoded",
    "Encoder",
    "Executor",
    "ExpertArchitecture",
    "ExpertOptions",
    "Experts",
    "Feature",
    "Field",
    "FieldName",
    "Gates",
    "GramianOptions",
    "GramianWeighter",
    "Head",
    "JacobianOptions",
    "JacobianWeighter",
    "LaunchError",
    "Launcher",
    "LayerOptions",
    "LayerwiseArchitecture",
    "LinkedLoss",
    "Loss",
    "LossWeighter",
    "MtlError",
    "NonNegativeFloat",
    "NonNegativeInt",
    "Norm",
    "OffsetWeighter",
    "Output",
    "PairedWeighter",
    "PositiveFloat",
    "PositiveInt",
    "PreferenceWeighter",
    "RawSchema",
    "Schema",
    "Scope",
    "SeamOptions",
    "ShardedEncoder",
    "Share",
    "Sizes",
    "Source",
    "StatelessTransform",
    "Step",
    "Steps",
    "Target",
    "Task",
    "TaskMetric",
    "Tower",
    "TowerHead",
    "TowerOptions",
    "TrainingError",
    "TrainingStep",
    "Transform",
    "Weighter",
    "as_written",
    "check",
    "column",
    "numbers",
]

LAZY = {
    name: module
    for module, names in {
        "architectures.dense": "DenseArchitecture ExpertArchitecture ExpertOptions LayerwiseArchitecture",
        "data.arrow.columns": "Block as_written column",
        "data.arrow.numbers": "numbers",
        "data.features.base": "CachingTransform ColumnFeature Feature StatelessTransform Transform check",
        "encoders.embedding": "EmbeddingEncoder",
        "executors.base": "Executor",
        "fitting.failures": "TrainingError",
        "heads.tower": "Tower TowerHead TowerOptions",
        "launchers.base": "LaunchError Launcher",
        "layers.mlp": "Activation ActivationOptions Experts Gates LayerOptions MLP Norm",
        "losses.linked": "LinkedLoss",
        "training.sharded": "ShardedEncoder",
        "weighters.bases.gramian": "GramianOptions GramianWeighter Scope SeamOptions",
        "weighters.bases.jacobian": "JacobianOptions JacobianWeighter",
        "weighters.bases.loss_based": "LossWeighter",
        "weighters.bases.offset": "OffsetWeighter",
        "weighters.bases.paired": "PairedWeighter",
        "weighters.bases.preference": "PreferenceWeighter",
    }.items()
    for name in names.split()
} | {"TrainingStep": "training.step:Step"}
"""Names that are imported when they are first used, with their modules; ``module:name`` where the name differs."""


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, original = LAZY[name].partition(":")
    value = getattr(import_module(f"mtl_lightning.{module}"), original or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY})


class Component:
    """Base of the components' contracts: ``help`` of a class shows the options that its constructor inherits."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        write_inherited(cls)


class Encoder(Component, nn.Module, ABC):
    """Batch → z. Constructor: ``(schema, copies, *, options)``; sets ``width`` (D) and builds ``copies`` table sets."""

    width: int
    """Width D of z."""
    slices: Mapping[str, slice] = MappingProxyType({})
    """Slice of z per field; empty where fields are mixed (``hidden``). Architectures that gate by a field read it."""
    auxiliary: Mapping[str, Auxiliary] = MappingProxyType({})
    """Further objectives by name, set by the forward pass in training where gradients are recorded.

    Each is multiplied by its weight and added to the weighter's objective; weighters do not see it. Targets come from
    features of the row alone, such as later events of its history, and never from labels.
    """
    reads_requests: bool = False
    """True if the forward pass takes batches with requests, whose sequences, histories and vectors may have R rows.

    Others get :meth:`Batch.expand`. z has a row per row of the batch in either case.
    """

    def encodes_once(self, field: Field) -> bool:
        """Return True if a sequence or history that is constant within a request is encoded once per request.

        Reports and benchmarks read it; False where what is computed depends on the item at hand.
        """
        return False

    def table_parameters(self) -> list[nn.Parameter]:
        """Parameters with sparse row gradients; they take the table optimizer and the sparse exchange."""
        return []

    def table_places(self, schema: Schema) -> list[dict[str, list[int]]]:
        """Rows of each table parameter that an encoder with these options would use for a schema.

        Args:
            schema: Fitted schema, whose vocabularies may be larger than this encoder's.

        Returns:
            For each table parameter, the row of id 0 in every copy of each vocabulary; id i is stored i rows further.
            An encoder that returns nothing cannot warm-start from a run with smaller vocabularies.
        """
        return []

    def draw_tables(self, generator: torch.Generator | None = None) -> None:
        """Fill the table parameters with initial values, in place; ``optimizer.redraw_tables`` needs it.

        Args:
            generator: Source of random numbers on the tables' device; None for torch's own.
        """
        raise NotImplementedError

    @abstractmethod
    def forward(self, batch: Batch) -> Encoded:
        """Encode a batch."""


class Architecture(Component, nn.Module, ABC):
    """z → one representation per task. Constructor: ``(schema, encoder, *, options)``; sets ``widths`` (H per task)."""

    widths: dict[str, int]
    """Width H of each task's representation."""
    members: int = 1
    """Number k of an ensemble's members. A representation then has k slices of width H / k, and each its own head.

    The loss of a task is the mean of its members' losses, the prediction the mean of their predictions.
    """
    keep_gates: bool = False
    """True if a forward pass must store its gate values in ``gates``, for reports."""
    gates: dict[str, Tensor]
    """Gate values of the last forward pass, [B, number of experts], by task or by a name such as ``layer0``."""
    keep_shared: bool = False
    """True if a forward pass must store the tensors in ``shared``, for weighters with ``gradients_at: shared``."""
    shared: tuple[Tensor, ...] = ()
    """Tensors [B, …] that the tasks share last, such as experts' outputs and gates; empty if the tasks share z last.

    Every path from z to a representation must cross one of them. None may be computed from another.
    """
    weighted_fields: tuple[str, ...] = ()
    """Fields for each value of which it has weights besides embeddings; the ids of these values must not leave."""
    penalty: Tensor | None = None
    """Extra term of the objective per row, [B], set by the forward pass in training of a method that has one."""

    @classmethod
    def table_copies(cls, tasks: int, **options: Any) -> int:
        """Number of sets of embedding tables that these options need.

        Args:
            tasks: Number of tasks.
            options: Options of the architecture, those with their default left out.
        """
        return 1

    @abstractmethod
    def forward(self, encoded: Encoded) -> dict[str, Tensor]:
        """Representations per task, each [B, H]."""


class Head(Component, nn.Module, ABC):
    """h → Output. Constructor: ``(task, width, parents, *, options)``; ``parents`` maps names to their built heads."""

    kinds: ClassVar[frozenset[str]]
    """Task kinds that the head can serve."""
    loss: ClassVar[str]
    """Name of the loss that is used when the recipe names none."""
    everywhere: ClassVar[str] = ""
    """Remedy where labels are known only after the parent's event, if the head must learn on all rows.

    ``validate`` refuses an ``observed_when`` on such a task and gives this text as the hint. Empty for a head that can
    learn from the rows with a known label alone.
    """
    binary_columns: tuple[str, ...] = ()
    """Raw columns that must be 0, 1 or missing, such as a treatment; a run with other values is refused."""
    nonnegative: bool = False
    """True if labels must be at least 0; a run with others is refused."""
    hidden_width: int = 0
    """Width of ``Output.hidden``, for heads of child tasks; 0 if there is no hidden state."""
    mean: float | None = None
    """Mean of the task's training labels if it is known, for heads of child tasks."""

    @abstractmethod
    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Compute the task's output from its representation [B, H], its parents' outputs and declared raw columns."""

    def alike(self) -> Hashable | None:
        """Key of heads that :meth:`forward_alike` computes together in training; None if each computes alone.

        A head with a key must read its representation alone: no parents, no raw columns, no random numbers.
        """
        return None

    def forward_alike(self, heads: Sequence["Head"], representations: Sequence[Tensor]) -> list[Output]:
        """Outputs of ``heads``, of which this is the first, each as ``forward`` gives for its representation [B, H]."""
        raise NotImplementedError

    @abstractmethod
    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """The value that users see (a probability, seconds, a count): [B], or [B, K] for several classes."""

    def details(self, output: Output, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Further tensors that metrics read in ``target.details``, such as quantiles: each [B, …]."""
        return {}


class Loss(Component, nn.Module, ABC):
    """One task's loss. Constructor: ``(task, *, options)``."""

    kinds: ClassVar[frozenset[str]]
    """Task kinds that the loss can serve."""
    heads: ClassVar[frozenset[str] | None] = None
    """Names of the heads whose outputs it can read, besides those that name it as their default; None for all."""
    probability_columns: tuple[str, ...] = ()
    """Raw columns that must be from 0 to 1 or missing, such as a teacher's; a run with other values is refused."""

    @abstractmethod
    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Scalar loss: a mean over known labels of the global batch (:meth:`Target.mean`)."""

    def alike(self) -> Hashable | None:
        """Key of losses that :meth:`elements` computes together in training; None if each computes alone.

        With a key, ``forward`` must be the mean of :meth:`elements` over known labels where the logit is [B, 1].
        """
        return None

    def elements(self, logit: Tensor, label: Tensor) -> Tensor:
        """Loss of each element of logits and labels of one shape, which are 0 in unknown rows."""
        raise NotImplementedError

    def label(self, output: Output, target: Target) -> Tensor:
        """The label [B, 1] that :meth:`elements` compares with the logit, of the logit's type, 0 where unknown."""
        return target.label.to(output.logit.dtype)


@runtime_checkable
class Step(Protocol):
    """Losses of one step, and quantities derived from them. Each is computed when a weighter first reads it.

    :class:`TrainingStep` is the implementation, for tests and examples.
    """

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
        """Source of random numbers that are equal on all processes and depend only on the seed and the step."""

    def reduce(self, tensor: Tensor) -> Tensor:
        """Sum of a tensor over processes."""

    def seam(self, gradient: Tensor, weights: Tensor | None = None) -> Tensor:
        """An objective with a given gradient at the seam.

        Args:
            gradient: Gradient at z, [B, D].
            weights: Weights of the losses for parameters above z, [T]; None for the plain sum.
        """


class Weighter(Component, nn.Module, ABC):
    """The tasks' losses → one objective. Constructor: ``(tasks, *, options)`` with ``tasks`` a tuple of names.

    State lives in buffers; control flow depends only on ``step.values``, ``step.gramian`` and ``step.index``.
    """

    needs_losses_after_step: bool = False
    """True if :meth:`after_step` must be called after this update; may change from step to step."""
    gradients_at: str = "seam"
    """Place at which ``step.jacobian`` is taken.

    ``seam``: at z. ``shared``: at :attr:`Architecture.shared`. ``parameters``: at all shared dense parameters.
    Anything else is a pattern over names of parameters.
    """
    chooses_preferences: ClassVar[bool] = False
    """True if it trains with changing preferences, which the model must read by a feature of kind ``preference``."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Scalar objective with graph; one backward of it is the update."""

    def choose_preference(self, generator: torch.Generator) -> Tensor | None:
        """Choose the preferences of the tasks that the model reads in a step, [T]; None if it has no such choice.

        Args:
            generator: The step's generator, as :meth:`forward` gets it afterwards: both draw the same numbers.
        """
        return None

    def after_step(self, values: Tensor) -> None:
        """Take the global losses [T] of the same batch after the update (see :attr:`needs_losses_after_step`)."""

    def report(self) -> dict[str, float]:
        """The last weight of each task, for logs; empty if the method has none."""
        return {}


class TaskMetric(Component, Metric, ABC):
    """One number about one task, exact across processes. Constructor: ``(task, *, options)``.

    State is added with ``add_state(..., dist_reduce_fx="sum")`` or ``"cat"``; only rows with ``target.mask`` count.
    """

    kinds: ClassVar[frozenset[str]]
    """Task kinds that the metric can measure."""
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
    """Columns of a source, and its suggestions for recipes that leave settings out.

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
    """A log of exposures. Constructor: ``(*, options)``, which reads nothing."""

    @abstractmethod
    def schema(self) -> RawSchema:
        """Columns and suggestions. May read a header or a footer; raises DataError with the file's name."""

    @abstractmethod
    def rows(self, split: str | None = None) -> "datasets.Dataset | datasets.IterableDataset":
        """The rows of one of the source's own splits, or of the whole table (None)."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A string that changes when the rows change (options, and size and time of files)."""
