"""Raw columns as numbers; true probabilities of several labels become one column per label."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.numbers import RowError, numbers
from mtl_lightning.data.arrow.times import parse_iso
from mtl_lightning.data.arrow.types import clean, is_text
from mtl_lightning.data.targets.labels import Label
from mtl_lightning.errors import DataError, did_you_mean


def raw_names(raw: Iterable[str], labels: Iterable[Label]) -> tuple[str, ...]:
    """Names of raw columns after conversion; a record with a number per label becomes one column per label."""
    several = records(labels)
    taken = {label.task.oracle for label in several}
    return (*(name for name in raw if name not in taken), *(name for label in several for name in label.task.oracles))


def raw_values(columns: Mapping[str, pa.Array], labels: Iterable[Label]) -> dict[str, np.ndarray]:
    """Convert raw columns to numbers by name, each [B] float64 with NaN where missing; see :func:`raw_names`.

    Args:
        columns: Raw columns by name.
        labels: The fitted labels.

    Raises:
        DataError: If a column holds neither numbers nor times in ISO 8601, which become microseconds.

    Example:
        >>> raw_values({"position": pa.array([1, None])}, [])["position"].tolist()
        [1.0, nan]
    """
    several = records(labels)
    taken = {label.task.oracle for label in several}
    result = {name: _numbers(column, name) for name, column in columns.items() if name not in taken}
    for label in several:
        result |= oracles(label, columns[str(label.task.oracle)])
    return result


def _numbers(values: pa.Array, name: str) -> np.ndarray:
    try:
        return numbers(values, name, finite=False)
    except RowError:
        values = clean(values)
        parsed = parse_iso(values) if is_text(values.type) else pa.nulls(len(values))
        if parsed.null_count > values.null_count:
            raise
        return numbers(pc.cast(parsed, pa.int64()), name)


def records(labels: Iterable[Label]) -> list[Label]:
    """Labels whose oracle holds several numbers per row."""
    return [label for label in labels if label.task.traits.several and label.task.oracle is not None]


def oracles(label: Label, values: pa.Array) -> dict[str, np.ndarray]:
    """A task's true expectations by raw name, each [B] float64 and NaN where missing.

    Args:
        label: The fitted label of a task with an ``oracle``.
        values: The oracle's column: numbers; for a multilabel task records with one number per label, by its name, or,
            where labels are numbers from 0, lists in their order.

    Raises:
        RowError: If a list is too short.
        DataError: If the column has another type, or lacks a label.

    Example:
        >>> from mtl_lightning.schema import Task
        >>> label = Label(Task(name="tags", kind="multilabel", label="tags", oracle="p"))
        >>> label.observe(pa.table({"tags": ["b|a", "a"]}))
        >>> label.finish()
        >>> {name: p.tolist() for name, p in oracles(label, pa.array([{"b": 0.25, "a": 0.5}, None])).items()}
        {'p.tags.0': [0.5, nan], 'p.tags.1': [0.25, nan]}
    """
    task = label.task
    assert task.oracle is not None
    if not task.traits.several or pt.is_null(values.type):
        parts = [values] * len(task.oracles)
    else:
        read = _fields if pt.is_struct(values.type) else _elements
        parts = read(values, label, f"tasks.{task.name}.oracle: column {task.oracle!r}")
    named = zip(task.oracles, parts, strict=True)
    return {name: numbers(part, task.oracle, finite=False) for name, part in named}


def _fields(values: pa.Array, label: Label, place: str) -> list[pa.Array]:
    """Read the field named like each label."""
    known = [field.name for field in values.type]
    names = list(map(str, _labels(label)))
    for name in names:
        if name not in known:
            raise DataError(f"{place} has no field for the label {name!r}", did_you_mean(name, known))
    return [pc.struct_field(values, name) for name in names]


def _elements(values: pa.Array, label: Label, place: str) -> list[pa.Array]:
    """Read the element at the index of each label, which is a number."""
    places = _labels(label)
    listed = pt.is_list(values.type) or pt.is_large_list(values.type) or pt.is_fixed_size_list(values.type)
    if not listed or not all(isinstance(index, int) and index >= 0 for index in places):
        raise DataError(f"{place} holds {values.type}", "records with a number per label, by its name")
    short = pc.less_equal(pc.list_value_length(values), max(places)).fill_null(False).to_numpy(zero_copy_only=False)
    if short.any():
        index = int(short.argmax())
        raise RowError(f"{place} has {len(values[index])} numbers, none for the label {max(places)}", index)
    return [pc.list_element(values, index) for index in places]


def _labels(label: Label) -> list[Any]:
    assert label.vocabulary is not None  # labels of multilabel tasks are always looked up
    return list(label.vocabulary.keys.to_pylist())
