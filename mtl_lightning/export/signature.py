"""Signature of a model: inputs, outputs and raw columns, from its schema and transforms."""

from collections.abc import Collection
from typing import Any

from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.export.graph import PREDICTION, blank_requests, inputs_of
from mtl_lightning.schema import Schema, Task

Shape = tuple[str, list[int]]
"""Type of values, and sizes of a row."""


def input_shapes(schema: Schema) -> dict[str, Shape]:
    """Return all possible inputs of a model by name; a model has those that its predictions depend on.

    Example:
        >>> from mtl_lightning.schema import Field
        >>> input_shapes(Schema((Field(name="user", kind="categorical", size=9),), ()))
        {'ids': ('int64', [1]), 'dense': ('float32', [0])}
    """
    inputs = inputs_of(blank_requests(schema))
    return {name: (str(value.dtype).removeprefix("torch."), list(value.shape[1:])) for name, value in inputs.items()}


def output_of(task: Task) -> dict[str, Any]:
    """Return the output of a task, for the manifest.

    Example:
        >>> output_of(Task(name="click", kind="binary", label="click"))
        {'name': 'prediction/click', 'kind': 'binary', 'width': 1}
    """
    return {"name": PREDICTION + task.name, "kind": task.kind, "width": 1 if task.traits.scalar else task.classes}


def output_shapes(schema: Schema) -> dict[str, Shape]:
    """Return the outputs of a model by name.

    Example:
        >>> output_shapes(Schema((), (Task(name="click", kind="binary", label="click"),)))
        {'prediction/click': ('float32', [])}
    """
    return {PREDICTION + task.name: ("float32", [] if task.traits.scalar else [task.classes]) for task in schema.tasks}


def columns_of(transforms: Transforms, inputs: Collection[str]) -> dict[str, list[str]]:
    """Return the raw columns that rows need, each with the features that read it; empty for a column of the model.

    Args:
        transforms: Fitted transforms.
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
