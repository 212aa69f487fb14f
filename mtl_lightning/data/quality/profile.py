"""Profile of a log: rows per split, columns and label rates, read block by block in bounded memory."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl_lightning.data.arrow.columns import column
from mtl_lightning.data.arrow.types import clean
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.data.preparation.split import SPLITS, SplitSpec
from mtl_lightning.data.preparation.split_reader import SplitReader
from mtl_lightning.data.quality.days import DayRates
from mtl_lightning.data.quality.line_breaks import count_line_breaks
from mtl_lightning.interfaces import RawSchema, Source
from mtl_lightning.schema import Task

MOST_VALUES = 200_000
"""Largest number of distinct values of a column that are counted."""


@dataclass
class ColumnProfile:
    """Counts of a column.

    Args:
        name: Name of the column.
        type: Arrow type.
        nulls: Number of rows without a value (NaN counts).
        missing: Number of rows without a value per split.
        entries: Number of floats in lists of floats; None for other columns.
        gaps: Number of these floats that are missing or NaN.
        line_breaks: Number of values of text with line breaks, and the most line breaks of a value.
        values: Distinct values; None for nested columns, and if there are more than :data:`MOST_VALUES`.
        rows: Number of rows.
    """

    name: str
    type: str
    nulls: int = 0
    rows: int = 0
    missing: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    entries: int | None = None
    gaps: int = 0
    line_breaks: tuple[int, int] = (0, 0)
    values: set[Any] | None = field(default_factory=set)

    def add(self, values: pa.Array, places: np.ndarray) -> None:
        """Count a block.

        Args:
            values: Values of the block, [B].
            places: Index of each row's split, [B].
        """
        values = clean(values)
        self.rows += len(values)
        self.nulls += values.null_count
        if values.null_count:
            empty = values.is_null().to_numpy(zero_copy_only=False)
            for i, name in enumerate(SPLITS):
                self.missing[name] += int((empty & (places == i)).sum())
        kind = values.type
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if listed and pa.types.is_floating(kind.value_type):
            flat = pc.list_flatten(values)
            self.entries = (self.entries or 0) + len(flat)
            self.gaps += pc.sum(pc.is_null(flat, nan_is_null=True)).as_py() or 0
        count, most = count_line_breaks(values)
        self.line_breaks = self.line_breaks[0] + count, max(self.line_breaks[1], most)
        if pa.types.is_nested(values.type):
            self.values = None
        if self.values is not None:
            self.values.update(pc.unique(pc.drop_null(values)).to_pylist())
            if len(self.values) > MOST_VALUES:
                self.values = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers; ``distinct`` is None if it was not counted, ``gaps`` without lists of floats."""
        return {
            "type": self.type,
            "rows": self.rows,
            "nulls": self.nulls,
            "missing": self.missing,
            "gaps": self.gaps / self.entries if self.entries else None,
            "line_breaks": list(self.line_breaks),
            "distinct": None if self.values is None else len(self.values),
        }


@dataclass
class LabelProfile:
    """Number of known labels of a task in a split, and their sum."""

    known: int = 0
    total: float | None = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers; the mean is None without known labels, and for labels that are not numbers."""
        mean = None if self.total is None or not self.known else self.total / self.known
        return {"known": self.known, "mean": mean}


def profile(source: Source, raw: RawSchema, tasks: tuple[Task, ...], split: SplitSpec) -> dict[str, Any]:
    """Profile a log.

    Args:
        source: Source of the log.
        raw: Schema of the source.
        tasks: Tasks whose labels are counted.
        split: How the rows are divided.

    Returns:
        ``{"rows": {split: N}, "columns": {name: {...}}, "labels": {task: {split: {...}}}, "days": {task: [...]}}``,
        as plain containers; ``days`` is empty if the rows have no time.

    Raises:
        DataError: If the log cannot be read, or a label cannot be computed.

    Example:
        >>> from mtl_lightning.data.sources.simulator import Simulator
        >>> log = Simulator(rows=200, users=20, items=10)
        >>> click = Task(name="click", kind="binary", label="click")
        >>> profile(log, log.schema(), (click,), SplitSpec())["rows"]
        {'train': 160, 'validation': 20, 'test': 20}
    """
    columns = {name: ColumnProfile(name, kind) for name, kind in raw.columns.items()}
    labels = {task.name: {name: LabelProfile() for name in SPLITS} for task in tasks}
    rows = dict.fromkeys(SPLITS, 0)
    known = list(raw.columns)
    own = split.time or (split.column if split.by == "time" else None)
    time_column, text_format = own or raw.time, split.format if own else None
    rates = DayRates()
    readers = {
        task.name: (
            Expression(task.label, known, f"tasks.{task.name}.label"),
            Expression(task.observed_when, known, f"tasks.{task.name}.observed_when") if task.observed_when else None,
        )
        for task in tasks
    }
    for block, places in SplitReader(source, split, tuple(raw.columns)).all():
        for name, counts in columns.items():
            counts.add(column(block, name), places)
        for i, name in enumerate(SPLITS):
            rows[name] += int((places == i).sum())
        days = rates.days(column(block, time_column), text_format) if time_column in columns else None
        for task, (label, condition) in readers.items():
            labelled = label.evaluate(block)
            values = _numbers(labelled)
            seen = ~np.isnan(values) if values is not None else labelled.is_valid().to_numpy(zero_copy_only=False)
            if condition is not None:
                seen &= condition.holds(block).to_numpy(zero_copy_only=False)
            if days is not None and values is not None:
                rates.add(task, days, values, seen)
            for i, name in enumerate(SPLITS):
                chosen, part = seen & (places == i), labels[task][name]
                part.known += int(chosen.sum())
                part.total = None if values is None or part.total is None else part.total + float(values[chosen].sum())
    return {
        "rows": rows,
        "columns": {name: counts.to_dict() for name, counts in columns.items()},
        "labels": {task: {name: part.to_dict() for name, part in parts.items()} for task, parts in labels.items()},
        "days": rates.to_dict(),
    }


def _numbers(values: pa.Array) -> np.ndarray | None:
    """Return labels as floats, NaN where missing; None for labels that are not numbers (names of classes, lists)."""
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    return np.asarray(pc.fill_null(pc.cast(values, pa.float64()), float("nan")).to_numpy(zero_copy_only=False))
