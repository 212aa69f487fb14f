"""Schema of a model's data: fields and tasks. Free of torch, so that listing commands stay light."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NewType, Self

from mtl_lightning.markup import fragment, table
from mtl_lightning.task_kinds import TASK_KINDS, LabelRange, TaskKind, task_kind

__all__ = [
    "FIELD_KINDS",
    "PADDING",
    "TASK_KINDS",
    "UNKNOWN",
    "ColumnName",
    "Field",
    "FieldName",
    "Schema",
    "Task",
    "TaskKind",
]

ColumnName = NewType("ColumnName", str)
"""Type of a component option that names a raw column; the component gets it in ``raw``, and it is never a feature."""

FieldName = NewType("FieldName", str)
"""Type of a component option that names a feature of the recipe (a scenario, a prior)."""

PADDING = 0
"""Id of padding and of missing values: its embedding is zero and stays zero."""

UNKNOWN = 1
"""Id of out-of-vocabulary values."""

FIELD_KINDS = ("categorical", "numeric", "sequence", "vector", "history")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One fitted model input.

    Args:
        name: The feature's name in the recipe.
        kind: One of :data:`FIELD_KINDS`.
        size: Vocabulary size with padding and out-of-vocabulary (categorical, sequence), width (vector), 1 (numeric).
        table: Name of the vocabulary and embedding table; sequences may share the table of a categorical field.
        length: Longest sequence kept (sequence, history).
        edges: Quantiles of the encoded training values, ascending and distinct (numeric only; may be empty).
        steps: What each step of a history carries: categorical fields, then numeric fields (history only).
        gap: Each step of a history has the time between it and the row (history only).
        weights: Numeric field of a step that weighs it; empty for steps of equal weight (history only).
        per_request: The value is constant within a request (see ``Batch.request``).
        tasks: Tasks whose preferences it holds, which a weighter may choose in training (vector only; may be empty).
    """

    name: str
    kind: str
    size: int = 1
    table: str = ""
    length: int = 0
    edges: tuple[float, ...] = ()
    steps: "tuple[Field, ...]" = ()
    gap: bool = False
    weights: str = ""
    per_request: bool = False
    tasks: tuple[str, ...] = ()

    def steps_of_kind(self, kind: str) -> "tuple[Field, ...]":
        """Fields of one kind that a step carries, in the order of their columns in ``Steps``.

        Example:
            >>> item = Field(name="item", kind="categorical", size=9, table="item")
            >>> price = Field(name="price", kind="numeric")
            >>> history = Field(name="clicks", kind="history", length=50, steps=(item, price))
            >>> [field.name for field in history.steps_of_kind("numeric")]
            ['price']
        """
        return tuple(field for field in self.steps if field.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON and checkpoints; what only some kinds have is left out elsewhere."""
        state = {**asdict(self), "edges": list(self.edges), "tasks": list(self.tasks)}
        if not self.tasks:
            del state["tasks"]
        if not self.per_request:
            del state["per_request"]
        if self.kind == "history":
            state = state if self.weights else {name: value for name, value in state.items() if name != "weights"}
            return state | {"steps": [field.to_dict() for field in self.steps]}
        return {name: value for name, value in state.items() if name not in ("steps", "gap", "weights")}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`."""
        steps = tuple(cls.from_dict(field) for field in state.get("steps", ()))
        tuples = {name: tuple(state.get(name, ())) for name in ("edges", "tasks")}
        return cls(**{**state, **tuples, "steps": steps})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to predict.

    Args:
        name: The task's name; metrics and logs carry it.
        kind: One of :data:`TASK_KINDS`.
        label: The raw column, or a small expression over raw columns (``rating >= 4``).
        observed_when: Expression that is true where the label is known; a null label is unknown as well.
        parents: Tasks whose outputs this task's head and loss may use.
        classes: Number of classes or labels; the width K of the label slice is ``classes`` for multilabel, otherwise 1.
        weight: Weight of the task in the overall score that selects the model.
        sample_weight: Raw column (or expression) with a weight per row, or None.
        oracle: Raw column with the true expectation of the label (simulators have it), or None; never a feature.
            Of a multilabel task it holds records with a number per label.
        mean: Mean of the known training labels, once fitted; heads may start from it.
        scale: Their standard deviation.
    """

    name: str
    kind: str
    label: str
    observed_when: str | None = None
    parents: tuple[str, ...] = ()
    classes: int = 1
    weight: float = 1.0
    sample_weight: str | None = None
    oracle: str | None = None
    mean: float | None = None
    scale: float | None = None

    @property
    def traits(self) -> TaskKind:
        """The record of its kind; DataError if the kind is unknown.

        Example:
            >>> Task(name="click", kind="binary", label="click").traits.event_probability
            True
        """
        return task_kind(self.kind)

    @property
    def label_range(self) -> LabelRange:
        """Valid labels; classes are numbered from 0.

        Example:
            >>> Task(name="stars", kind="ordinal", label="stars", classes=5).label_range.highest
            4
        """
        if not self.traits.fits_classes:
            return self.traits.labels
        highest = self.classes - 1
        return LabelRange(lowest=0, highest=highest, whole=True, refusal=f"not in 0 … {highest}")

    @property
    def width(self) -> int:
        """Width K of the task's slice of ``Batch.labels``."""
        return self.classes if self.traits.several else 1

    @property
    def oracles(self) -> tuple[str, ...]:
        """Names in ``Batch.raw`` of the true expectations, one per entry of the label slice; empty without ``oracle``.

        Example:
            >>> Task(name="click", kind="binary", label="click", oracle="p").oracles
            ('p',)
            >>> Task(name="tags", kind="multilabel", label="tags", oracle="p", classes=2).oracles
            ('p.tags.0', 'p.tags.1')
        """
        if self.oracle is None:
            return ()
        if not self.traits.several:
            return (self.oracle,)
        return tuple(f"{self.oracle}.{self.name}.{label}" for label in range(self.classes))


@dataclass(frozen=True)
class Schema:
    """The fitted schema: what encoders, architectures and heads are built from.

    Args:
        fields: Model inputs. Columns of ``Batch.ids`` and ``Batch.dense`` follow this order within their kind.
        tasks: Tasks, parents before children.
        group: Name of the grouping column (the user) for grouped metrics, or None.
        raw: Names of raw numeric columns that losses, heads or metrics declared.

    Example:
        >>> schema = Schema((Field(name="user", kind="categorical", size=10, table="user"),),
        ...                 (Task(name="click", kind="binary", label="click"),))
        >>> schema.task("click").kind, schema.label_slices["click"]
        ('binary', slice(0, 1, None))
        >>> Schema.from_dict(schema.to_dict()) == schema
        True
    """

    fields: tuple[Field, ...]
    tasks: tuple[Task, ...]
    group: str | None = None
    raw: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> tuple[Field, ...]:
        """Fields of one kind, in order."""
        return tuple(field for field in self.fields if field.kind == kind)

    @cached_property
    def id_columns(self) -> dict[str, int]:
        """Column of ``Batch.ids`` per categorical field."""
        return {field.name: i for i, field in enumerate(self.of_kind("categorical"))}

    @cached_property
    def table_sizes(self) -> dict[str, int]:
        """Ids per vocabulary, vocabularies of categorical fields first."""
        sizes: dict[str, int] = {}
        steps = [step for field in self.of_kind("history") for step in field.steps_of_kind("categorical")]
        for field in (*self.of_kind("categorical"), *self.of_kind("sequence"), *steps):
            sizes[field.table] = max(sizes.get(field.table, 0), field.size)
        return sizes

    @cached_property
    def dense_columns(self) -> dict[str, int]:
        """Column of ``Batch.dense`` per numeric field."""
        return {field.name: i for i, field in enumerate(self.of_kind("numeric"))}

    @cached_property
    def task_index(self) -> dict[str, int]:
        """Column of ``Batch.mask`` per task."""
        return {task.name: i for i, task in enumerate(self.tasks)}

    @cached_property
    def label_slices(self) -> dict[str, slice]:
        """Slice of ``Batch.labels`` per task."""
        slices, start = {}, 0
        for task in self.tasks:
            slices[task.name] = slice(start, start + task.width)
            start += task.width
        return slices

    @property
    def label_width(self) -> int:
        """Width ΣK of ``Batch.labels``."""
        return sum(task.width for task in self.tasks)

    def field(self, name: str) -> Field:
        """Return the field of a name; KeyError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def task(self, name: str) -> Task:
        """Return the task of a name; KeyError if there is none."""
        return self.tasks[self.task_index[name]]

    def _repr_html_(self) -> str:
        """Tables of fields and tasks, for notebooks."""
        fields = [[f.name, f.kind, f"{f.size:,}", f.table, str(f.length or "")] for f in self.fields]
        tasks = [
            [t.name, t.kind, t.label, t.observed_when or "", ", ".join(t.parents), f"{t.weight:g}"] for t in self.tasks
        ]
        return fragment(
            f"{len(fields)} fields, {len(tasks)} tasks",
            table(["field", "kind", "size", "table", "length"], fields),
            table(["task", "kind", "label", "known where", "parents", "weight"], tasks),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON and checkpoints."""
        return {
            "fields": [field.to_dict() for field in self.fields],
            "tasks": [{**asdict(task), "parents": list(task.parents)} for task in self.tasks],
            "group": self.group,
            "raw": list(self.raw),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`."""
        return cls(
            fields=tuple(Field.from_dict(field) for field in state["fields"]),
            tasks=tuple(Task(**{**task, "parents": tuple(task["parents"])}) for task in state["tasks"]),
            group=state["group"],
            raw=tuple(state["raw"]),
        )
