"""Low-latency encoding of the rows of requests; gives exactly the values that the transforms give."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from mtl_lightning.data.arrow.columns import WRITTEN
from mtl_lightning.data.arrow.keys import EXACT, canonical_spelling, canonical_text
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.features.base import Transform
from mtl_lightning.data.features.buckets import BucketsTransform
from mtl_lightning.data.features.categorical import CategoricalTransform, SharedVocabulary
from mtl_lightning.data.features.numeric import NumericTransform
from mtl_lightning.data.features.sequence import SequenceTransform
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.data.preparation.given_histories import GivenHistory, given_history, listed_in_json
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.readers.frames import as_array
from mtl_lightning.data.store.listed_steps import listed_steps
from mtl_lightning.data.targets.raw_columns import raw_values, records
from mtl_lightning.errors import DataError
from mtl_lightning.schema import PADDING, UNKNOWN
from mtl_lightning.steps import Steps

Columns = Mapping[str, Sequence[Any]]
"""Values by raw column."""

Encode = Callable[[Columns], np.ndarray]
"""Encoder of one feature."""

NOTHING = type(None)
Kinds = frozenset[type]
NUMBERS: Kinds = frozenset({float, int, NOTHING})
INTEGERS: Kinds = frozenset({int, NOTHING})
TEXT: Kinds = frozenset({str, NOTHING})
KEYS: dict[bool, tuple[Kinds, ...]] = {False: (INTEGERS, NUMBERS), True: (TEXT,)}
"""Types of values that need no conversion to be looked up, for vocabularies of integers (False) and text (True)."""


class RowEncoder:
    """Encoder of columns of Python values, as JSON has them.

    Ids are looked up in dictionaries, and numbers are converted by numpy. Columns of other types, such as text for a
    vocabulary of integers, and features of other kinds are encoded by their transforms.

    Args:
        transforms: Fitted transforms.
        requests: Whether what is constant within a request has a row per request.

    Raises:
        DataError: While encoding, if a column is missing or holds values that its feature cannot read.

    Example:
        >>> from mtl_lightning.data.features.build import build_features
        >>> fitted = Transforms(build_features({"user": "categorical", "price": "numeric"}), ())
        >>> fitted.fit([pa.table({"user": ["a", "b", "b"], "price": [1.0, 2.0, 3.0]})])
        >>> parts = RowEncoder(fitted).encode({"user": ["a", None], "price": [2, None]}, 2)
        >>> parts["ids"].tolist(), parts["dense"].tolist()
        ([[3], [0]], [[0.0], [0.0]])
    """

    def __init__(self, transforms: Transforms, *, requests: bool = False) -> None:
        self.transforms = transforms
        self.schema = transforms.schema
        self._once = {field.name for field in self.schema.fields if field.per_request} if requests else set()
        self._tables: dict[str, dict[Any, int]] = {}
        self._features = {name: self._encoder(name, transform) for name, transform in transforms.transforms.items()}
        self._histories = transforms.histories
        self._listed = {
            field.name: field for field in self.schema.of_kind("history") if field.name not in self._histories
        }
        self._kinds = {kind: [field.name for field in self.schema.of_kind(kind)] for kind in ("categorical", "numeric")}
        # Models do not read true probabilities, and a request may not hold records of them.
        self._raw = {*transforms.raw} - {label.task.oracle for label in records(transforms.labels.values())}
        self._wide = {f.name: f"{f.kind}/{f.name}" for f in self.schema.fields if f.kind in ("sequence", "vector")}

    def encode(self, columns: Columns, rows: int) -> dict[str, np.ndarray]:
        """Encode a request.

        Args:
            columns: Values by raw column; a single value of a column is used for all rows.
            rows: Number of rows, B.

        Returns:
            Inputs of a model: ``ids`` [B, C] int64, ``dense`` [B, F] float32, ``sequence/…`` [B, L] int64,
            ``vector/…`` [B, d] float32, ``raw/…`` [B] float64. Per history also ``history/<name>/ids`` [B, L, K]
            int64, ``…/numbers`` [B, L, F] float32, ``…/length`` [B] int64 and ``…/gap`` [B, L] float32, padded to the
            longest history that the feature keeps. With requests also ``request`` [B] int64; neighbouring rows that are
            equal in all that is constant within a request are one.

        Raises:
            DataError: If a column is missing or holds values that its feature cannot read.
        """
        for lookup in self.transforms.lookups.values():
            columns = {**columns, **lookup.join_values(columns)}
        encoded = {name: encode(columns) for name, encode in self._features.items() if name not in self._histories}
        parts = {
            "ids": self._stack("categorical", encoded, rows, np.dtype(np.int64)),
            "dense": self._stack("numeric", encoded, rows, np.dtype(np.float32)),
        }
        wide: dict[str, dict[str, np.ndarray]] = {}
        for name, part in self._wide.items():
            wide[name] = {part: encoded[name].astype(np.int64) if part.startswith("sequence") else encoded[name]}
        for name, history in self._given(columns).items():
            steps = history.events.steps(torch.from_numpy(history.rows)).padded(history.events.length)
            wide[name] = _inputs(name, steps)
        for name, field in self._listed.items():
            steps = listed_steps(torch.from_numpy(encoded[name]), field).padded(field.length)
            wide[name] = _inputs(name, steps)
        shared = {part: values for name in self._once & wide.keys() for part, values in wide.pop(name).items()}
        for part, values in (pair for of_field in wide.values() for pair in of_field.items()):
            parts[part] = np.ascontiguousarray(np.broadcast_to(values, (rows, *values.shape[1:])))
        if shared:
            parts |= _requests(shared, rows)
        given = self._raw & columns.keys()
        raw = {name: _array(columns[name], name) if name in given else pa.nulls(1) for name in self.transforms.raw}
        for name, numbered in raw_values(raw, self.transforms.labels.values()).items():
            parts[f"raw/{name}"] = np.ascontiguousarray(np.broadcast_to(numbered, (rows,)))
        return parts

    def _given(self, columns: Columns) -> dict[str, GivenHistory]:
        """Histories of a request: of its own events, or of its users."""
        given, live = {}, self.transforms.live
        asked = {}
        for name, transform in self._histories.items():
            by, time = transform.feature.by, transform.feature.time
            times = _array(_column(columns, time), time)
            if name in live and name not in columns:
                asked[name] = _array(_column(columns, by), by), times
            else:
                given[name] = given_history(listed_in_json(_column(columns, name), transform), times, transform)
        return {**given, **live.given(asked)}

    def _stack(self, kind: str, encoded: Mapping[str, np.ndarray], rows: int, dtype: np.dtype[Any]) -> np.ndarray:
        names = self._kinds[kind]
        matrix = np.empty((rows, len(names)), dtype=dtype)
        for i, name in enumerate(names):
            matrix[:, i] = encoded[name]
        return matrix

    def _encoder(self, name: str, transform: Transform) -> Encode:
        if name in self.transforms.readers:
            needed = self.transforms.features[name].columns(name)
            return lambda columns: transform.encode(_table(columns, needed))
        if isinstance(transform, CategoricalTransform):
            return self._categorical(transform)
        if isinstance(transform, NumericTransform):
            return lambda columns: transform.scaled(_numbers(columns, transform, finite=True))
        if isinstance(transform, BucketsTransform):
            return lambda columns: transform.bucketed(_numbers(columns, transform, finite=False))
        if isinstance(transform, SequenceTransform):
            return self._sequence(transform)
        needed = self._columns_of(name)
        optional = self.transforms.features[name].optional_columns(name)
        return lambda columns: transform.encode(_table(columns, [*needed, *(columns.keys() & {*optional})]))

    def _columns_of(self, name: str) -> tuple[str, ...]:
        """Return the columns of a feature, or of the features that it refers to if it has none."""
        others = self.transforms.features[name].needs()
        return self.transforms.features[name].request_columns(name) or tuple(
            dict.fromkeys(column for other in others for column in self._columns_of(other))
        )

    def _lookup(self, table: SharedVocabulary) -> tuple[dict[Any, int], tuple[Kinds, ...]]:
        keys = table.vocabulary.keys
        if table.name not in self._tables:
            ids: dict[Any, int] = {key: i + FIRST for i, key in enumerate(keys.to_pylist())}
            ids[None] = PADDING
            if is_text(keys.type):
                # Keys in a spelling of earlier versions, which today's spelling replaces, are never looked up.
                stale = pc.not_equal(canonical_text(keys), keys).fill_null(True)
                for key in keys.filter(stale).to_pylist():
                    del ids[key]
            self._tables[table.name] = ids
        return self._tables[table.name], KEYS[is_text(keys.type)]

    def _categorical(self, transform: CategoricalTransform) -> Encode:
        ids, plain = self._lookup(transform.table)
        text = plain is KEYS[True]

        def encode(columns: Columns) -> np.ndarray:
            values = _as_written(columns, transform.column)
            if not _equal_as_keys(values, plain):
                return transform.encode(_table(columns, (transform.column,)))
            if text:
                return np.fromiter((_text_id(ids, value) for value in values), np.int32, len(values))
            return np.fromiter((ids.get(value, UNKNOWN) for value in values), np.int32, len(values))

        return encode

    def _sequence(self, transform: SequenceTransform) -> Encode:
        ids, plain = self._lookup(transform.table)
        length, text = transform.length, plain is KEYS[True]

        def encode(columns: Columns) -> np.ndarray:
            rows = _as_written(columns, transform.column)
            lists = set(map(type, rows)) <= {list, NOTHING}
            if not lists or not _equal_as_keys(list(chain.from_iterable(row or () for row in rows)), plain):
                return transform.encode(_table(columns, (transform.column,)))
            matrix = np.zeros((len(rows), length), dtype=np.int32)
            for i, row in enumerate(rows):
                if row and text:  # as in delimited text, blank values are left out
                    latest = [_text_id(ids, word) for value in row if value and (word := value.strip())][-length:]
                    matrix[i, : len(latest)] = latest
                elif row:
                    latest = [ids.get(value, UNKNOWN) for value in row if value is not None][-length:]
                    matrix[i, : len(latest)] = latest
            return matrix

        return encode


def _inputs(name: str, steps: Steps) -> dict[str, np.ndarray]:
    """Return the inputs of a model for the steps of a field."""
    parts = {"ids": steps.ids, "numbers": steps.numbers, "length": steps.length, "gap": steps.gap}
    return {f"history/{name}/{part}": values.numpy() for part, values in parts.items() if values is not None}


def _requests(shared: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Return inputs with a row per request, and ``request`` [B]: neighbours that are equal in all inputs are one."""
    starts = np.arange(rows) == 0
    for values in shared.values():
        if len(values) > 1:
            starts[1:] |= (values[1:] != values[:-1]).reshape(rows - 1, -1).any(axis=1)
    first = np.flatnonzero(starts)
    parts = {
        name: np.ascontiguousarray(
            values[first] if len(values) > 1 else np.broadcast_to(values, (len(first), *values.shape[1:]))
        )
        for name, values in shared.items()
    }
    return {**parts, "request": np.cumsum(starts, dtype=np.int64) - 1}


def _text_id(ids: dict[Any, int], value: str | None) -> int:
    """Return the id of text, which may have another spelling than its key."""
    as_given = ids.get(value, UNKNOWN)
    return as_given if as_given != UNKNOWN or value is None else ids.get(canonical_spelling(value), UNKNOWN)


def _equal_as_keys(values: Sequence[Any], plain: tuple[Kinds, ...]) -> bool:
    """Return True if values are equal exactly where their keys are equal."""
    kinds = set(map(type, values))
    if kinds <= plain[0]:
        return True
    # 7.0 equals 7 in a dictionary as in a vocabulary. Larger floats are not exact, and fractions are text.
    return kinds <= plain[-1] and all(
        value.is_integer() and abs(value) <= EXACT for value in values if isinstance(value, float)
    )


def _column(columns: Columns, name: str) -> Sequence[Any]:
    if name not in columns:
        raise DataError(f"no column {name!r}")
    return columns[name]


def _as_written(columns: Columns, name: str) -> Sequence[Any]:
    """Return a column, in the text of a side table's cells if that is stored."""
    return columns[WRITTEN + name] if WRITTEN + name in columns else _column(columns, name)


def _numbers(columns: Columns, transform: NumericTransform | BucketsTransform, *, finite: bool) -> np.ndarray:
    values = _column(columns, transform.column)
    if set(map(type, values)) <= NUMBERS:
        try:
            numbers = np.array(values, dtype=np.float64)
        except OverflowError:
            return transform.numbers(_array(values, transform.column))
        if not finite or not np.isinf(numbers).any():
            return numbers
    return transform.numbers(_array(values, transform.column))


def _array(values: Sequence[Any], name: str) -> pa.Array:
    """Convert a column for a transform; deeper nesting than a list is refused, as it could exhaust memory."""
    for value in values:
        inner = value if isinstance(value, list) else (value,)
        if any(isinstance(element, list | dict) for element in inner):
            raise DataError(f"column {name!r} holds nested values", "use single values or lists of them")
    return as_array(list(values), name)


def _table(columns: Columns, names: Sequence[str]) -> pa.Table:
    """Return columns as a table; a single value is repeated if another column has more."""
    arrays = {name: _array(_column(columns, name), name) for name in names}
    written = [WRITTEN + name for name in names if WRITTEN + name in columns]
    arrays |= {name: _array(columns[name], name) for name in written}
    arrays = arrays or {"": pa.nulls(1)}  # preferences, which rows need not bring
    rows = max(map(len, arrays.values()))
    return pa.table({name: _repeat(array, rows) for name, array in arrays.items()})


def _repeat(array: pa.Array, rows: int) -> pa.Array:
    return array if len(array) == rows else array.take(pa.array(np.zeros(rows, dtype=np.int64)))
