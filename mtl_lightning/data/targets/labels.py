"""Labels: expressions over raw columns → numbers and a mask of known ones, checked by kind of task."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.columns import Block, as_written
from mtl_lightning.data.arrow.keys import integers, keys
from mtl_lightning.data.arrow.lists import flatten
from mtl_lightning.data.arrow.numbers import Moments, RowError, numbers
from mtl_lightning.data.arrow.types import clean, is_text
from mtl_lightning.data.expressions.expression import Expression
from mtl_lightning.data.features.vocabulary import FIRST, Counter, Vocabulary
from mtl_lightning.data.targets.tasks import names_classes
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Task

Encoded = tuple[np.ndarray, np.ndarray]
SEPARATORS = r"[|;,]"
"""Pattern between several labels in text."""


class Label:
    """One task's labels.

    Args:
        task: The task. If its kind has classes and ``classes`` is 1, classes are fitted.
        columns: Names of raw columns. A label that is the name of one is that column, even if it is also an expression.

    Raises:
        DataError: If an expression can't be parsed, or labels don't fit the kind.

    Example:
        >>> label = Label(Task(name="like", kind="binary", label="rating >= 4", observed_when="seen"))
        >>> values, known = label.encode(pa.table({"rating": [5, 1, 3], "seen": [True, True, None]}))
        >>> values.tolist(), known.tolist()
        ([[1.0], [0.0], [0.0]], [True, True, False])
    """

    def __init__(self, task: Task, columns: tuple[str, ...] = ()) -> None:
        self.task = task
        place = f"tasks.{task.name}"
        self.label = Expression(task.label, columns, f"{place}.label")
        when, weight = task.observed_when, task.sample_weight
        self.observed = Expression(when, columns, f"{place}.observed_when") if when else None
        self.weighted = Expression(weight, columns, f"{place}.sample_weight") if weight else None
        self.by_name = self.label.is_column and names_classes(task)
        self.counter: Counter | None = None
        self.vocabulary: Vocabulary | None = None
        self.moments = Moments()
        self.floats = True
        self.earlier: Label | None = None  # see growth.begin

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw columns that are read."""
        parts = (self.label, self.observed, self.weighted)
        return tuple(dict.fromkeys(name for part in parts if part for name in part.columns))

    @property
    def width(self) -> int:
        """Width K of the label slice."""
        return self.task.width

    def _values(self, block: Block) -> pa.Array:
        """The label's values; null where it is unknown."""
        values = clean(as_written(block, self.label.columns[0])) if self.by_name else self.label.evaluate(block)
        if self.observed is not None:
            seen = self.observed.holds(block)
            values = pc.if_else(seen, values, pa.scalar(None, values.type))
        return values

    def _numbers(self, values: pa.Array) -> Encoded:
        """Values as numbers [B, K], and whether they are known [B]."""
        traits = self.task.traits
        if traits.several:
            return _several(self, values)
        return _class(self, values) if traits.fits_classes else _in_range(self, values)

    def observe(self, block: Block) -> None:
        """Observe a block of training rows."""
        values = self._values(block)
        if self.task.traits.fits_classes and self._names_classes(values):
            self.counter = self.counter or Counter()
            self.floats = self.floats and pt.is_floating(values.type)
            several = self.task.traits.several
            names = flatten(values, self.task.name, SEPARATORS, regex=True).values if several else values
            self.counter.add(keys(names, self.task.label))
            if several:
                self.moments.add(np.where(values.is_valid().to_numpy(zero_copy_only=False), 0.0, np.nan))
            return
        encoded, known = self._numbers(values)
        self.moments.add(np.where(known[:, None], encoded, np.nan).ravel())

    def accumulators(self) -> list[Self]:
        """Return the label itself."""
        return [self]

    def record(self) -> None:
        """Forget all counts; see :class:`~mtl_lightning.data.features.base.Accumulator`."""
        self.counter = None if self.counter is None else Counter()
        self.floats = True
        self.moments.record()

    def partial(self) -> tuple[Any, bool, Any]:
        """Return counts of classes, whether they were floats, and moments."""
        return None if self.counter is None else self.counter.partial(), self.floats, self.moments.partial()

    def merge(self, partial: tuple[Any, bool, Any]) -> None:
        """Add what another worker observed in the next blocks."""
        counts, floats, moments = partial
        if counts is not None:
            self.counter = self.counter or Counter()
            self.counter.merge(counts)
        self.floats = self.floats and floats
        self.moments.merge(moments)

    def _names_classes(self, values: pa.Array) -> bool:
        # Integers are class numbers if the recipe sets their count; other values are looked up.
        return self.counter is not None or self.task.classes == 1 or not pt.is_integer(values.type)

    def finish(self) -> None:
        """Fit classes and moments.

        Raises:
            DataError: If no training row has a known label or all have the same one, unless an earlier run fitted it.
        """
        if self.earlier is not None:
            return
        place = f"tasks.{self.task.name}: the label {self.task.label!r}"
        if self.counter is not None:
            self._fit_classes(place)
            return
        if not self.moments.count:
            raise DataError(f"{place} is unknown in every row of the training split", self._why_unknown())
        if self.moments.deviation == 0 and not self.task.traits.several:
            value = f"{self.moments.mean:g}"
            raise DataError(f"{place} is {value} in every row of the training split", "there is nothing to learn")
        if self.task.traits.scalar:
            self.task = replace(self.task, mean=self.moments.mean, scale=self.moments.deviation)

    def _why_unknown(self) -> str:
        return f"look at observed_when: {self.task.observed_when!r}" if self.observed else "all its values are missing"

    def _fit_classes(self, place: str) -> None:
        assert self.counter is not None
        vocabulary = Vocabulary.fit(self.counter, max_size=self.task.classes if self.task.classes > 1 else None)
        self.counter = None
        if not len(vocabulary.keys):
            raise DataError(f"{place} is unknown in every row of the training split", self._why_unknown())
        names = vocabulary.keys
        if self.floats and self.task.classes > 1 and pt.is_integer(names.type) and _within(names, self.task.classes):
            return  # class numbers, which are floats because some are missing
        ordered = names.take(pc.sort_indices(_comparable(names)))
        if len(ordered) == 1 and not self.task.traits.several:
            raise DataError(f"{place} is {ordered[0].as_py()!r} in every row of the training split")
        self.vocabulary = Vocabulary(ordered)
        self.task = replace(self.task, classes=max(len(ordered), 1 if self.task.traits.several else 2))

    def encode(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Encode labels: [B, K] float32 with 0 where unknown, and a mask of known ones, [B]."""
        encoded, known = self._numbers(self._values(block))
        with np.errstate(over="ignore"):
            labels = np.where(known[:, None], encoded, 0).astype(np.float32)
        if np.isinf(labels).any():
            message = f"tasks.{self.task.name}: the label {self.task.label!r} is too large for float32"
            raise RowError(message, int(np.isinf(labels).any(axis=1).argmax()), "divide it, or take its log")
        return labels, known

    def weights(self, block: Block) -> np.ndarray | None:
        """Sample weights [B] float32, or None for ones."""
        if self.weighted is None:
            return None
        values = numbers(self.weighted.evaluate(block), str(self.task.sample_weight))
        wrong = np.isnan(values) | (values < 0)
        if wrong.any():
            what = "missing" if np.isnan(values[wrong.argmax()]) else "negative"
            message = f"tasks.{self.task.name}.sample_weight: {self.task.sample_weight!r} is {what}"
            raise RowError(message, int(wrong.argmax()))
        return values.astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Fitted state, as plain containers."""
        return {"classes": self.vocabulary.to_dict() if self.vocabulary else None}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`."""
        self.vocabulary = Vocabulary.from_dict(state["classes"]) if state["classes"] else None


def _within(names: pa.Array, classes: int) -> bool:
    ends = pc.min_max(names).as_py()
    return bool(ends["min"] >= 0 and ends["max"] < classes and len(names) > 1)


def _comparable(names: pa.Array) -> pa.Array:
    """Convert names of classes to numbers if all are numbers, so that 10 comes after 2."""
    try:
        return pc.cast(names, pa.float64())
    except pa.ArrowException:
        return names


def _numbers(label: Label, values: pa.Array) -> Encoded:
    if is_text(values.type):
        seen = next((value for value in values.to_pylist() if value), "yes")
        known = pc.is_valid(integers(pa.array([seen])))[0].as_py()
        hint = f"number({label.task.label})" if known else f'compare it: {label.task.label} == "{seen}"'
        raise DataError(f"tasks.{label.task.name}: the label {label.task.label!r} is text, not a number", hint)
    encoded = numbers(values, label.task.label)
    return encoded[:, None], ~np.isnan(encoded)


def _in_range(label: Label, values: pa.Array) -> Encoded:
    encoded, known = _numbers(label, values)
    valid = label.task.label_range
    number = encoded[:, 0]
    wrong = (number < valid.lowest) | (number > valid.highest)
    if valid.whole:
        wrong |= number % 1 != 0
    wrong &= known
    if wrong.any():
        index = int(wrong.argmax())
        message = f"tasks.{label.task.name}: the label {label.task.label!r} is {number[index]:g}, {valid.refusal}"
        raise RowError(message, index, valid.remedy)
    return encoded, known


def _class(label: Label, values: pa.Array) -> Encoded:
    if label.vocabulary is None:
        return _in_range(label, values)
    ids = label.vocabulary.ids(keys(values, label.task.label))
    return (ids - FIRST)[:, None], ids >= FIRST  # classes without a training row are unknown labels


def _several(label: Label, values: pa.Array) -> Encoded:
    flat = flatten(values, label.task.label, SEPARATORS, regex=True)
    known = values.is_valid().to_numpy(zero_copy_only=False)
    if label.vocabulary is None:
        numbered, known_classes = _class(label, flat.values)
        ids = numbered[:, 0].astype(np.int64)
    else:
        looked_up = label.vocabulary.ids(keys(flat.values, label.task.label)).astype(np.int64)
        ids, known_classes = looked_up - FIRST, looked_up >= FIRST
    result = np.zeros((len(values), label.task.classes), dtype=np.float32)
    result[flat.rows[known_classes], ids[known_classes]] = 1
    return result, known
