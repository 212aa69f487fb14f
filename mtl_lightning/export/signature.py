"""Inputs, outputs and raw columns of a model, as they follow from its schema and transforms."""

from collections.abc import Collection
from typing import Any

from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.export.formula import scalar
from mtl_lightning.export.graph import PREDICTION
from mtl_lightning.schema import Schema, Task

Shape = tuple[str, list[int]]
"""Type of the values, and sizes of a row."""


def input_shapes(schema: Schema) -> dict[str, Shape]:
    """What a model may take, by name; a model takes those that its predictions depend on.

    Example:
        >>> from mtl_lightning.schema import Field
        >>> input_shapes(Schema((Field(name="user", kind="categorical", size=9),), ()))
        {'ids': ('int64', [1]), 'dense': ('float32', [0])}
    """
    shapes: dict[str, Shape] = {
        "ids": ("int64", [len(schema.of_kind("categorical"))]),
        "dense": ("float32", [len(schema.of_kind("numeric"))]),
    }
    shapes |= {f"sequence/{one.name}": ("int64", [one.length]) for one in schema.of_kind("sequence")}
    shapes |= {f"vector/{one.name}": ("float32", [one.size]) for one in schema.of_kind("vector")}
    for one in schema.of_kind("history"):
        counts = {kind: len(one.steps_of_kind(kind)) for kind in ("categorical", "numeric")}
        shapes |= {
            f"history/{one.name}/ids": ("int64", [one.length, counts["categorical"]]),
            f"history/{one.name}/numbers": ("float32", [one.length, counts["numeric"]]),
            f"history/{one.name}/length": ("int64", []),
        }
        shapes |= {f"history/{one.name}/gap": ("float32", [one.length])} if one.gap else {}
    return shapes | {f"raw/{name}": ("float64", []) for name in schema.raw}


def output_of(task: Task) -> dict[str, Any]:
    """The output of a task, as a manifest has it.

    Example:
        >>> output_of(Task(name="click", kind="binary", label="click"))
        {'name': 'prediction/click', 'kind': 'binary', 'width': 1}
    """
    return {"name": PREDICTION + task.name, "kind": task.kind, "width": 1 if scalar(task) else task.classes}


def output_shapes(schema: Schema) -> dict[str, Shape]:
    """What a model gives, by the names of its outputs."""
    return {PREDICTION + task.name: ("float32", [] if scalar(task) else [task.classes]) for task in schema.tasks}


def columns_of(transforms: Transforms, inputs: Collection[str]) -> dict[str, list[str]]:
    """Raw columns that a row must have, with the features that read each; those that the model reads have none.

    Args:
        transforms: The fitted transforms.
        inputs: Names of the model's inputs.
    """
    columns: dict[str, list[str]] = {}
    for feature, names in transforms.request_columns.items():
        for name in names:
            columns.setdefault(name, []).append(feature)
    for name in transforms.raw:
        if f"raw/{name}" in inputs:
            columns.setdefault(name, [])
    return columns
