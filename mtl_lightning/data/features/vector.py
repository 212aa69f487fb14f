"""Vector features: embeddings that the log contains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.arrow.lists import flatten
from mtl_lightning.data.arrow.numbers import RowError, numbers
from mtl_lightning.data.features.base import (
    ColumnFeature,
    ColumnTransform,
    StatelessTransform,
    Transform,
    check,
    check_expression,
)
from mtl_lightning.schema import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector(ColumnFeature):
    """A fixed number of floats per row, from a list column or delimited text; a missing vector is all zeros.

    Args:
        column: Raw column; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        size: Number of floats.
        separator: Delimiter of numbers if the column holds text.

    Raises:
        DataError: If the size is out of range; while encoding, if a row has another number of values.

    Example:
        >>> image = Vector(size=2).build("image", {})
        >>> image.encode(pa.table({"image": ["0.5 1", None]})).tolist()
        [[0.5, 1.0], [0.0, 0.0]]
    """

    kind: ClassVar[str] = "vector"
    makes: ClassVar[str] = "vector"
    column: str | None = None
    expression: str | None = None
    size: int
    separator: str = " "

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        check(self.size >= 1, f"size is {self.size}", "at least 1")
        check(bool(self.separator), "separator is empty")

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "VectorTransform":
        return VectorTransform(name, self)


class VectorTransform(ColumnTransform[Vector], StatelessTransform):
    """Vectors as the column holds them."""

    @override
    def field(self) -> Field:
        return Field(name=self.name, kind="vector", size=self.feature.size)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as vectors, [B, d] float32."""
        size = self.feature.size
        flat = flatten(self.reader.read(block), self.column, self.feature.separator)
        sizes = np.bincount(flat.rows, minlength=flat.total)
        wrong = (sizes != 0) & (sizes != size)
        if wrong.any():
            index = int(wrong.argmax())
            raise RowError(f"column {self.column!r} holds {sizes[index]} values where {size} are expected", index)
        result = np.zeros((flat.total, size), dtype=np.float32)
        if len(flat.values):
            values = numbers(pa.array(flat.values), self.column, finite=False)
            with np.errstate(over="ignore"):  # beyond float32 is infinite as well
                narrow = values.reshape(-1, size).astype(np.float32)
            result[sizes != 0] = np.nan_to_num(narrow, posinf=np.nan, neginf=np.nan)
            if np.isnan(result).any():
                raise RowError(f"column {self.column!r} is infinite", int(np.isnan(result).any(axis=1).argmax()))
        return result
