"""Structure of saved transforms and schemas, which are checked before anything is built from them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict, get_type_hints

import numpy as np

from mtl_lightning.bounds import NonNegativeInt, PositiveFloat
from mtl_lightning.errors import PluginError
from mtl_lightning.plugins import registry
from mtl_lightning.schema import FIELD_KINDS, TASK_KINDS, Field, Task
from mtl_lightning.structure import DEEPEST, INFINITE, StructureError, check, shown

if TYPE_CHECKING:
    from mtl_lightning.data.features.base import Feature

STEP_KINDS = ("categorical", "numeric")
"""Kinds of fields that a step of a history carries."""
LONGEST = 1 << 24
"""Largest number of values of a feature per row."""

MOST_PARTS = 10_000
"""Largest number of features that a feature refers to, directly and through others."""


class SavedUsage(TypedDict):
    """Counts of a vocabulary's values and of values that wait for an id."""

    waiting: list[int] | list[str]
    counts: list[NonNegativeInt]
    seen: list[float]
    dated: bool | None


class SavedVocabulary(TypedDict):
    """State of a vocabulary."""

    text: bool
    keys: list[int] | list[str]
    usage: NotRequired[SavedUsage]


class SavedNumeric(TypedDict):
    """State of a numeric feature."""

    mean: float
    scale: PositiveFloat
    known_mean: float
    edges: NotRequired[list[float]]


class SavedBuckets(TypedDict):
    """State of buckets; an edge is infinite if many values of the column are."""

    edges: list[Annotated[float, INFINITE]]


class SavedHistory(TypedDict):
    """State of a history: own vocabularies and scales by column, and the unit of its times."""

    vocabularies: dict[str, SavedVocabulary]
    numbers: dict[str, SavedNumeric]
    per_second: int | None


class SavedParallelLists(TypedDict):
    """State of a sequence with parallel lists: own vocabularies and scales by column."""

    vocabularies: dict[str, SavedVocabulary]
    numbers: dict[str, SavedNumeric]


class SavedSemanticId(TypedDict):
    """State of semantic ids: centres and numbered prefixes by level."""

    centres: list[list[list[float]]]
    prefixes: list[list[int]]


class SavedClasses(TypedDict):
    """State of a label."""

    classes: SavedVocabulary | None


class SavedEmptyState(TypedDict):
    """State of a transform that is not fitted."""


class SavedSchema(TypedDict):
    """State of a :class:`~mtl_lightning.schema.Schema`."""

    fields: list[Field]
    tasks: list[Task]
    group: str | None
    raw: list[str]


class SavedLookup(TypedDict):
    """State of a side table, whose rows are in a file of their own."""

    on: str
    sha256: str


class SavedRequest(TypedDict):
    """State of requests: their columns, and the features that are constant within one."""

    columns: list[str]
    constant: list[str]


class SavedTransforms(TypedDict):
    """State of all transforms; the keys of features and tasks depend on their kinds."""

    features: dict[str, dict[str, Any]]
    tasks: list[dict[str, Any]]
    raw: list[str]
    group: str | None
    cold: dict[str, SavedVocabulary]
    columns: list[str]
    text: NotRequired[list[str]]
    tokens: NotRequired[list[str] | None]
    lookups: NotRequired[dict[str, SavedLookup]]
    request: NotRequired[SavedRequest]
    types: NotRequired[dict[str, dict[str, Literal["truth", "integer", "number", "text", "time"]]]]


def check_schema(state: Any, place: str) -> None:
    """Check the plain containers of a schema.

    Raises:
        StructureError: If a value is missing, unknown or out of range; the message names its place.

    Example:
        >>> check_schema({"fields": [], "tasks": [], "group": 1, "raw": []}, "schema")
        Traceback (most recent call last):
        mtl_lightning.structure.StructureError: schema.group is 1, not text or null
    """
    check(state, SavedSchema, place)
    for field in state["fields"]:
        _check_field(field, f"{place}.fields.{field['name']}", FIELD_KINDS)
    _require_distinct([field["name"] for field in state["fields"]], f"{place}.fields")
    _require_distinct(state["raw"], f"{place}.raw")
    _check_tasks(state["tasks"], f"{place}.tasks")


def _check_field(field: Mapping[str, Any], where: str, kinds: Sequence[str]) -> None:
    _require(field["kind"] in kinds, f"{where}.kind", field["kind"], f"one of {', '.join(kinds)}")
    _require(1 <= field.get("size", 1) < 2**31, f"{where}.size", field.get("size"), "at least 1, and below 2**31")
    _require(0 <= field.get("length", 0) <= LONGEST, f"{where}.length", field.get("length"), f"0 to {LONGEST}")
    _check_ascending(field.get("edges", ()), f"{where}.edges")
    preferences = len(field.get("tasks", ()))
    _require(preferences in (0, field.get("size", 1)), f"{where}.tasks", field.get("tasks"), "a task per value")
    for step in field.get("steps", ()):
        _check_field(step, f"{where}.steps.{step['name']}", STEP_KINDS)


def check_transforms(state: Any) -> None:
    """Check the plain containers of transforms, except the fitted states, which :func:`check_fitted` checks.

    Raises:
        StructureError: If a value is missing, unknown or out of range; the message names its place.
        MtlError: If a kind of feature is unknown.
    """
    check(state, SavedTransforms, "")
    for name, feature in state["features"].items():
        _check_feature(feature, f"features.{name}")
    for index, task in enumerate(state["tasks"]):
        where = f"tasks[{index}]"
        check({key: value for key, value in task.items() if key != "fitted"}, Task, where)
        check(task.get("fitted"), SavedClasses, f"{where}.fitted")
        if (classes := task["fitted"]["classes"]) is not None:
            check_vocabulary(classes, f"{where}.fitted.classes")
            wide = len(classes["keys"]) <= task.get("classes", 1)
            _require(wide, f"{where}.classes", task.get("classes", 1), f"{len(classes['keys'])} or more")
    for column, vocabulary in state["cold"].items():
        check_vocabulary(vocabulary, f"cold.{column}")
    _check_tasks(state["tasks"], "tasks")


def check_fitted(state: Any, structure: Any, place: str) -> None:
    """Check the fitted state of a transform.

    Args:
        state: State that its ``state`` method returned.
        structure: ``TypedDict`` that its class declares as ``saved``; None for any plain values.
        place: Place of the state, for messages.

    Raises:
        StructureError: If a value is missing, unknown or out of range; the message names its place.
    """
    check(state, structure or dict[str, Any], place)
    if structure is SavedVocabulary:
        check_vocabulary(state, place)
    if structure in (SavedNumeric, SavedBuckets):
        _check_ascending(state.get("edges", ()), f"{place}.edges")
    if structure in (SavedHistory, SavedParallelLists):
        for column, vocabulary in state["vocabularies"].items():
            check_vocabulary(vocabulary, f"{place}.vocabularies.{column}")
        for column, scale in state["numbers"].items():
            _check_ascending(scale.get("edges", ()), f"{place}.numbers.{column}.edges")


def check_references(features: Mapping[str, "Feature"]) -> None:
    """Check that no feature refers to thousands of others, which would take too long to encode.

    Raises:
        StructureError: If a feature refers to others through too many levels, or to too many.
    """
    unfolded: dict[str, int] = {}

    def count(name: str, depth: int) -> int:
        if depth > DEEPEST:
            raise StructureError(f"features.{name}.of is nested deeper than {DEEPEST} levels")
        if name not in unfolded:
            unfolded[name] = 1 + sum(count(other, depth + 1) for other in features[name].needs())
        return unfolded[name]

    for name in features:
        if count(name, 0) > MOST_PARTS:
            raise StructureError(f"features.{name}.of unfolds to {unfolded[name]} features, more than {MOST_PARTS}")


def check_vocabulary(state: Mapping[str, Any], place: str) -> None:
    """Check that the keys of a vocabulary are of its type, and distinct.

    Raises:
        StructureError: If they are not; the message names the place.
    """
    check(state, SavedVocabulary, place)
    kind, usage = str if state["text"] else int, state.get("usage")
    listed = {"keys": state["keys"]} | ({} if usage is None else {"usage.waiting": usage["waiting"]})
    for name, values in listed.items():
        first = next(iter(values), kind())
        _require(type(first) is kind, f"{place}.{name}[0]", first, "text" if kind is str else "an integer")
    total = [value for values in listed.values() for value in values] if usage is not None else state["keys"]
    _require_distinct(total, f"{place}.keys")
    if usage is not None:
        for name, fits in {"counts": (len(total),), "seen": (0, len(total))}.items():
            _require(len(usage[name]) in fits, f"{place}.usage.{name}", usage[name], f"{len(total)} numbers")


def _check_feature(feature: dict[str, Any], place: str) -> None:
    """Check that the options of a feature have the types of its constructor."""
    check(feature.get("kind"), str, f"{place}.kind")
    if "fitted" not in feature:
        raise StructureError(f"{place} has no 'fitted'")
    try:
        kind: Any = registry().resolve("feature", feature["kind"])
    except PluginError as error:
        raise StructureError(f"{place}.kind: {error.message}", error.hint) from error
    hints = get_type_hints(kind, include_extras=True)
    for option in fields(kind):
        if option.name in feature:
            check(feature[option.name], hints[option.name], f"{place}.{option.name}")
    width = {"sequence": "length", "history": "length", "vector": "size"}.get(kind.makes, "")
    if hints.get(width) is int:
        _require(feature.get(width, 1) <= LONGEST, f"{place}.{width}", feature.get(width), f"at most {LONGEST}")


def _check_tasks(tasks: Sequence[Mapping[str, Any]], place: str) -> None:
    names: list[str] = []
    for task in tasks:
        where = f"{place}.{task['name']}"
        _require(task["kind"] in TASK_KINDS, f"{where}.kind", task["kind"], f"one of {', '.join(TASK_KINDS)}")
        _require(1 <= task.get("classes", 1) <= LONGEST, f"{where}.classes", task.get("classes"), f"1 to {LONGEST}")
        scale = task.get("scale")
        _require(scale is None or scale > 0, f"{where}.scale", scale, "above 0")
        for parent in task["parents"]:
            _require(parent in names, f"{where}.parents", parent, "a task before it")
        names.append(task["name"])
    _require_distinct(names, place)


def _check_ascending(edges: Sequence[float], place: str) -> None:
    ascending = all(low < high for low, high in pairwise(edges))
    _require(ascending, place, edges, "in ascending order")


def _require_distinct(values: Sequence[Any], place: str) -> None:
    distinct = np.unique(values) if values and type(values[0]) is int else set(values)  # numpy needs less memory
    if len(distinct) < len(values):
        seen: set[Any] = set()
        repeated = next(value for value in values if value in seen or seen.add(value))  # type: ignore[func-returns-value]
        raise StructureError(f"{place}: {shown(repeated)} is listed twice")


def _require(valid: bool, place: str, value: Any, expected: str) -> None:
    if not valid:
        raise StructureError(f"{place} is {shown(value)}, not {expected}")
