"""Sequences whose steps carry more than one id: parallel lists of a row, and weighted ids."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.columns import Block, as_written, column
from mtl_lightning.data.arrow.lists import flatten
from mtl_lightning.data.arrow.numbers import RowError, numbers
from mtl_lightning.data.arrow.printed_lists import OPENED
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.features.base import Accumulator, Transform
from mtl_lightning.data.features.categorical import SharedVocabulary
from mtl_lightning.data.features.column_reader import ColumnReader
from mtl_lightning.data.features.numeric import Numeric, NumericTransform
from mtl_lightning.data.features.state_structure import SavedParallelLists
from mtl_lightning.schema import PADDING, Field
from mtl_lightning.steps import Layout

if TYPE_CHECKING:
    from mtl_lightning.data.features.sequence import Sequence

WEIGHTS = "weight"
"""Name of the number with the weight of a step if it is a part of the ids' text."""


class AlignedValues(NamedTuple):
    """Values of the lists of all rows, missing ones included.

    Args:
        values: Values, [V].
        sizes: Number of values of each row, [N].
        absent: True where a row has no list, [N].
    """

    values: pa.Array
    sizes: np.ndarray
    absent: np.ndarray

    def fill(self, sizes: np.ndarray) -> "AlignedValues":
        """Give rows without a list missing values, as many as ``sizes`` [N] says."""
        if not (self.absent & (sizes > 0)).any():
            return self
        filled = np.where(self.absent, sizes, self.sizes)
        rows = np.repeat(np.arange(len(sizes)), filled)
        begins, starts = np.cumsum(filled) - filled, np.cumsum(self.sizes) - self.sizes
        places = np.arange(len(rows)) - begins[rows] + starts[rows]
        return AlignedValues(self.values.take(pa.array(places, mask=self.absent[rows])), filled, self.absent)


def align_values(values: pa.Array, name: str, separator: str) -> AlignedValues:
    """Flatten lists or delimited text without leaving out missing values, so that parallel lists stay parallel.

    Args:
        values: Lists, text or single values, [N].
        name: Name of the column, for messages.
        separator: Delimiter in text.

    Raises:
        RowError: At text that begins with a bracket and is not a list.

    Example:
        >>> aligned = align_values(pa.array(["a||b", None]), "tags", "|")
        >>> aligned.values.to_pylist(), aligned.sizes.tolist()
        (['a', None, 'b'], [3, 0])
    """
    kind = values.type
    absent = values.is_null()
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        sizes = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(values)
        flat = flat.dictionary_decode() if pt.is_dictionary(flat.type) else flat
    elif is_text(kind) and not _holds_printed_lists(values, separator):
        blank = pc.equal(pc.utf8_trim_whitespace(values), "")
        absent = pc.fill_null(blank, True)
        pieces = pc.split_pattern(pc.if_else(absent, pa.scalar(None, kind), values), separator)
        sizes, flat = pc.fill_null(pc.list_value_length(pieces), 0).to_numpy(), pc.list_flatten(pieces)
    else:
        listed = flatten(values, name, separator)
        sizes, flat = np.bincount(listed.rows, minlength=listed.total), listed.values
    if is_text(flat.type):
        flat = pc.utf8_trim_whitespace(flat)
        flat = pc.if_else(pc.equal(flat, ""), pa.scalar(None, flat.type), flat)
    return AlignedValues(flat, sizes.astype(np.int64), absent.to_numpy(zero_copy_only=False))


def _holds_printed_lists(values: pa.Array, separator: str) -> bool:
    printed = "," in separator or separator.isspace()
    return printed and bool(pc.any(pc.match_substring_regex(values, OPENED)).as_py())


class ParallelListsTransform(Transform):
    """Ids and numbers of steps by fitted vocabularies and scales.

    A row is encoded as the number of its steps and their records, padded with zeros: [B, 1 + length × words] int32, in
    the form of :class:`~mtl_lightning.steps.Layout`.

    Args:
        name: Name of the feature.
        feature: Its options.
        shared: Vocabulary of another feature for the main ids, or None.
    """

    saved: ClassVar[Any] = SavedParallelLists

    def __init__(self, name: str, feature: "Sequence", shared: SharedVocabulary | None) -> None:
        self.name, self.feature = name, feature
        self.reader: ColumnReader = feature.reader(name)
        self.column = self.reader.name
        main = SharedVocabulary(name, feature.min_count, feature.max_size, feature.lifetime)
        self.own = {} if shared else {self.column: main}
        self.own |= {other: SharedVocabulary(f"{name}.{other}", 1, None) for other in feature.ids}
        self.tables = {
            self.column: shared or self.own[self.column],
            **{other: self.own[other] for other in feature.ids},
        }
        self.scales = {
            other: NumericTransform(other, Numeric(column=other, transform=transform))
            for other, transform in feature.numbers.items()
        }
        self.weights = feature.weights or (WEIGHTS if feature.weight_separator else "")
        self.layout = Layout(ids=len(self.tables), numbers=len(self.scales) + bool(self.weights))
        self._kept: dict[str, dict[str, Any]] = {}

    @contextmanager
    def _in_rows(self, rows: np.ndarray) -> Iterator[None]:
        """Let errors at flat values name the rows of the block.

        Raises:
            RowError: In place of a ``RowError`` at a flat value.
        """
        try:
            yield
        except RowError as error:
            further = {int(rows[index]): message for index, message in error.further.items()}
            raise RowError(error.message, int(rows[error.index]), error.hint, further) from error

    def _steps(self, block: Block) -> tuple[np.ndarray, dict[str, pa.Array], np.ndarray | None]:
        """Read the steps of a block: their rows [V], their columns, and their weights [V] if they have any."""
        feature = self.feature
        main = align_values(self.reader.read(block, as_written), self.column, feature.separator)
        rows = np.repeat(np.arange(block.num_rows), main.sizes)
        values = {self.column: main.values}
        others = dict.fromkeys([*feature.ids, *feature.numbers, *([feature.weights] if feature.weights else [])])
        for other in others:
            read = as_written if other in feature.ids else column
            aligned = align_values(read(block, other), other, feature.separator).fill(main.sizes)
            different = np.flatnonzero(aligned.sizes != main.sizes)
            if len(different):
                row = int(different[0])
                sizes = f"{main.sizes[row]} values of {self.column!r} and {aligned.sizes[row]} of {other!r}"
                further = {
                    int(place): f"{main.sizes[place]} values of {self.column!r} and {aligned.sizes[place]} of {other!r}"
                    for place in different
                }
                raise RowError(f"features.{self.name}: {sizes}", row, "lists of one row must be equally long", further)
            values[other] = aligned.values
        weights = None
        if feature.weight_separator:
            values[self.column], weights = self._split_weights(main.values, rows)
        elif feature.weights:
            weights = self._weights(values.pop(feature.weights), rows)
        present = values[self.column].is_valid().to_numpy(zero_copy_only=False)
        if not present.all():
            places = pa.array(np.flatnonzero(present))
            values = {name: part.take(places) for name, part in values.items()}
            rows, weights = rows[present], None if weights is None else weights[present]
        return rows, values, weights

    def _split_weights(self, values: pa.Array, rows: np.ndarray) -> tuple[pa.Array, np.ndarray]:
        """Split ``id:weight`` at the last separator; a value without a weight has weight 1."""
        if not is_text(values.type):
            return values, np.ones(len(values))
        parts = pc.split_pattern(values, str(self.feature.weight_separator), max_splits=1, reverse=True)
        sizes = pc.fill_null(pc.list_value_length(parts), 0).to_numpy(zero_copy_only=False)
        flat, starts = pc.list_flatten(parts), np.cumsum(sizes) - sizes
        ids = flat.take(pa.array(starts, mask=sizes == 0))
        weights = flat.take(pa.array(starts + 1, mask=sizes < 2))
        return ids, self._weights(weights, rows)

    def _weights(self, values: pa.Array, rows: np.ndarray) -> np.ndarray:
        """Read weights, [V]; 1 where missing."""
        with self._in_rows(rows):
            weights = numbers(values, self.weights)
            if (weights < 0).any():
                index = int((weights < 0).argmax())
                message = f"column {self.weights!r} holds the weight {weights[index]:g}"
                raise RowError(message, index, "weights are at least 0")
        return np.where(np.isnan(weights), 1.0, weights)

    def observe(self, block: Block) -> None:
        """Count ids, and measure numbers."""
        rows, values, _ = self._steps(block)
        for name, table in self.tables.items():
            times = table.moments(block)
            table.add(values[name], name, None if times is None else times[rows])
        with self._in_rows(rows):
            for name, scale in self.scales.items():
                scale.observe(pa.table({name: values[name]}))

    def accumulators(self) -> list[Accumulator]:
        """Return its own vocabularies, and the moments and quantiles of numbers."""
        return [*self.own.values(), *(part for scale in self.scales.values() for part in scale.accumulators())]

    def finish(self) -> None:
        """Fix the scales; vocabularies are fitted on first use."""
        for name, scale in self.scales.items():
            scale.finish()
            if name in self._kept:
                scale.restore(self._kept[name])

    def grow(self, state: Mapping[str, Any]) -> None:
        """Keep the ids and scales of an earlier fit's state; new values get ids after them."""
        for name, table in self.own.items():
            table.grow(state["vocabularies"][name])
        self._kept = dict(state["numbers"])

    def field(self) -> Field:
        """A history field, as its steps have the same form."""
        ids = [
            Field(name=name, kind="categorical", size=table.vocabulary.size, table=table.name)
            for name, table in self.tables.items()
        ]
        steps = [*ids, *(scale.field() for scale in self.scales.values())]
        steps += [Field(name=self.weights, kind="numeric")] if self.weights else []
        length = self.feature.length
        return Field(name=self.name, kind="history", length=length, steps=tuple(steps), weights=self.weights)

    def encode(self, block: Block) -> np.ndarray:
        """Encode a block, [B, 1 + length × words] int32."""
        rows, values, weights = self._steps(block)
        ids = np.stack([table.ids(values[name], name) for name, table in self.tables.items()], axis=1)
        with self._in_rows(rows):
            scaled = [scale.encode(pa.table({name: values[name]})) for name, scale in self.scales.items()]
        if weights is not None:
            scaled.append(weights.astype(np.float32))
        stacked = np.stack(scaled, axis=1) if scaled else np.zeros((len(rows), 0), dtype=np.float32)
        known = ids[:, 0] != PADDING  # NaN in a list is missing
        records = self.layout.pack(ids[known], stacked[known], np.zeros(0))
        return arrange(records, rows[known], block.num_rows, self.feature.length)

    def state(self) -> dict[str, Any]:
        """Own vocabularies and scales."""
        return {
            "vocabularies": {name: table.state() for name, table in self.own.items()},
            "numbers": {name: scale.state() for name, scale in self.scales.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`."""
        for name, table in self.own.items():
            table.restore(state["vocabularies"][name])
        for name, scale in self.scales.items():
            scale.restore(state["numbers"][name])


def arrange(records: np.ndarray, rows: np.ndarray, count: int, length: int) -> np.ndarray:
    """Arrange records by row, the last ``length`` of each, [count, 1 + length × words] int32.

    Args:
        records: Records of all steps, [V, W] int32.
        rows: Row of each step, [V], ascending.
        count: Number of rows.
        length: Largest number of steps per row.

    Example:
        >>> arrange(np.array([[5], [6], [7]], dtype=np.int32), np.array([0, 0, 2]), 3, 2).tolist()
        [[2, 5, 6], [0, 0, 0], [1, 7, 0]]
    """
    sizes = np.bincount(rows, minlength=count)
    dropped = np.maximum(sizes - length, 0)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes + dropped, sizes)
    result = np.zeros((count, length, records.shape[1]), dtype=np.int32)
    inside = place >= 0
    result[rows[inside], place[inside]] = records[inside]
    return np.concatenate([(sizes - dropped).astype(np.int32)[:, None], result.reshape(count, -1)], axis=1)
