"""Features fitted to the training split: raw columns → ids, numbers and sequences, in training and when serving."""

import threading
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from mtl_lightning.data.columns import Block, column
from mtl_lightning.data.features import Categorical, Feature, Numeric, Sequence
from mtl_lightning.data.keys import keys
from mtl_lightning.data.lists import flatten, padded
from mtl_lightning.data.numbers import Moments, RowError, numbers
from mtl_lightning.data.vocabulary import Counter, Vocabulary
from mtl_lightning.errors import DataError
from mtl_lightning.schema import UNKNOWN, Field


class Transform(Protocol):
    """One feature's fitted state. It observes every training block, is finished, then encodes any block."""

    def observe(self, block: Block) -> None:
        """Take a block of training rows into account."""

    def finish(self) -> None:
        """Fit to what was observed."""

    def field(self) -> Field:
        """The model input that it makes."""

    def encode(self, block: Block) -> np.ndarray:
        """Values of a block: [B] int32 ids, [B] float32 numbers, [B, L] int32 sequences or [B, d] float32 vectors."""

    def state(self) -> dict[str, Any]:
        """What was fitted, as plain containers."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`."""


class Table:
    """A vocabulary that one categorical feature owns and sequences may share."""

    def __init__(self, min_count: int, max_size: int | None) -> None:
        self.min_count = min_count
        self.max_size = max_size
        self.counter: Counter | None = Counter()
        self._lock = threading.Lock()  # columns are observed in parallel
        self._vocabulary: Vocabulary | None = None

    def add(self, values: Any) -> None:
        """Count keys."""
        with self._lock:
            assert self.counter is not None
            self.counter.add(values)

    @property
    def vocabulary(self) -> Vocabulary:
        """The fitted vocabulary."""
        with self._lock:
            if self._vocabulary is None:
                assert self.counter is not None
                self._vocabulary = Vocabulary.fit(self.counter, self.min_count, self.max_size)
                self.counter = None
            return self._vocabulary

    @vocabulary.setter
    def vocabulary(self, vocabulary: Vocabulary) -> None:
        self._vocabulary, self.counter = vocabulary, None


class CategoricalTransform:
    """Ids by vocabulary."""

    def __init__(self, name: str, feature: Categorical, others: Mapping[str, Transform]) -> None:
        self.name = name
        self.table_name = name
        self.column = feature.columns(name)[0]
        self.table = Table(feature.min_count, feature.max_size)

    def observe(self, block: Block) -> None:
        """Count."""
        self.table.add(keys(column(block, self.column), self.column))

    def finish(self) -> None:
        """Fit the vocabulary."""
        self.table.vocabulary  # noqa: B018 - fitted on first use, which sequences may have been

    def field(self) -> Field:
        """A categorical field with a table of its own."""
        return Field(name=self.name, kind="categorical", size=self.table.vocabulary.size, table=self.table_name)

    def encode(self, block: Block) -> np.ndarray:
        """Ids, [B] int32."""
        return self.table.vocabulary.ids(keys(column(block, self.column), self.column))

    def state(self) -> dict[str, Any]:
        """The vocabulary."""
        return self.table.vocabulary.to_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        """The vocabulary."""
        self.table.vocabulary = Vocabulary.from_dict(state)


class SequenceTransform:
    """Padded ids, the latest last."""

    def __init__(self, name: str, feature: Sequence, others: Mapping[str, Transform]) -> None:
        self.name = name
        self.column = feature.columns(name)[0]
        self.length = feature.length
        self.separator = feature.separator
        self.owner = others[feature.of] if feature.of else None
        if self.owner is not None and not isinstance(self.owner, CategoricalTransform):
            raise DataError(f"features.{name}: {feature.of!r} has no vocabulary", "`of` names a categorical feature")
        self.table = self.owner.table if self.owner else Table(feature.min_count, feature.max_size)
        self.table_name = self.owner.table_name if self.owner else name

    def observe(self, block: Block) -> None:
        """Count the values of all steps."""
        flat = flatten(column(block, self.column), self.column, self.separator)
        self.table.add(keys(flat.values, self.column))

    def finish(self) -> None:
        """Fit the vocabulary."""
        self.table.vocabulary  # noqa: B018 - fitted on first use

    def field(self) -> Field:
        """A sequence field."""
        size = self.table.vocabulary.size
        return Field(name=self.name, kind="sequence", size=size, table=self.table_name, length=self.length)

    def encode(self, block: Block) -> np.ndarray:
        """Ids, [B, L] int32."""
        flat = flatten(column(block, self.column), self.column, self.separator)
        ids = self.table.vocabulary.ids(keys(flat.values, self.column))
        known = ids != 0  # NaN in a list is missing, and padding stands on the right only
        return padded(ids[known], flat.rows[known], flat.total, self.length)

    def state(self) -> dict[str, Any]:
        """The vocabulary, if it is its own."""
        return {} if self.owner else self.table.vocabulary.to_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        """The vocabulary, if it is its own."""
        if self.owner is None:
            self.table.vocabulary = Vocabulary.from_dict(state)


class NumericTransform:
    """Clipped, transformed, standardised numbers."""

    def __init__(self, name: str, feature: Numeric, others: Mapping[str, Transform]) -> None:
        self.name = name
        self.feature = feature
        self.column = feature.columns(name)[0]
        self.moments = Moments()
        self.known_mean = 0.0
        self.mean = 0.0
        self.scale = 1.0

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        if self.feature.minimum is not None or self.feature.maximum is not None:
            values = np.clip(values, self.feature.minimum, self.feature.maximum)
        return np.sign(values) * np.log1p(np.abs(values)) if self.feature.transform == "log" else values

    def observe(self, block: Block) -> None:
        """Add to the moments."""
        self.moments.add(self._shaped(numbers(column(block, self.column), self.column)))

    def finish(self) -> None:
        """Fix mean and scale; a constant column becomes zeros."""
        self.known_mean, scale = self.moments.mean, self.moments.deviation or 1.0
        if self.feature.transform != "none":
            self.mean, self.scale = self.known_mean, scale
        if not np.isfinite([self.known_mean, self.scale]).all():
            raise DataError(f"features.{self.name}: column {self.column!r} has values that overflow", "transform: log")

    def field(self) -> Field:
        """A numeric field."""
        return Field(name=self.name, kind="numeric")

    def encode(self, block: Block) -> np.ndarray:
        """Numbers, [B] float32."""
        values = (self._shaped(numbers(column(block, self.column), self.column)) - self.mean) / self.scale
        with np.errstate(over="ignore"):
            result = np.where(np.isnan(values), self._missing(), values).astype(np.float32)
        if np.isinf(result).any():
            message = f"column {self.column!r} is too large for float32"
            raise RowError(message, int(np.isinf(result).argmax()), "transform: log, or set minimum and maximum")
        return result

    def _missing(self) -> float:
        missing = self.feature.missing
        if missing == "mean":
            return (self.known_mean - self.mean) / self.scale
        raw = np.array([0.0 if missing == "zero" else float(missing)])
        return float((self._shaped(raw)[0] - self.mean) / self.scale)

    def state(self) -> dict[str, Any]:
        """Moments."""
        return {"mean": self.mean, "scale": self.scale, "known_mean": self.known_mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Moments."""
        self.mean, self.scale, self.known_mean = state["mean"], state["scale"], state["known_mean"]


TRANSFORMS: dict[type, type] = {
    Categorical: CategoricalTransform,
    Numeric: NumericTransform,
    Sequence: SequenceTransform,
}
"""Transform per kind of feature."""


def build_transforms(features: Mapping[str, Feature]) -> dict[str, Transform]:
    """A transform per feature in the features' order; what others refer to is built first."""
    built: dict[str, Transform] = {}
    for name, feature in sorted(features.items(), key=lambda item: bool(item[1].needs())):
        built[name] = TRANSFORMS[type(feature)](name, feature, built)
    return {name: built[name] for name in features}


def unknown_share(encoded: np.ndarray) -> tuple[int, int]:
    """Number of out-of-vocabulary ids and of all known values."""
    return int((encoded == UNKNOWN).sum()), int((encoded != 0).sum())
