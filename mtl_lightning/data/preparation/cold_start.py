"""Cold starts: rows whose user or item does not occur in the training split."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.features.base import Accumulator
from mtl_lightning.data.features.categorical import Categorical, CategoricalTransform
from mtl_lightning.schema import UNKNOWN


def slice_name(column: str) -> str:
    """Return the name of the raw column that marks new values of a column.

    Example:
        >>> slice_name("user")
        'new_user'
    """
    return f"new_{column}"


class NewValues:
    """Marks of the values of a column that occur in no training row, however rare the others are.

    Args:
        column: Raw column.

    Example:
        >>> import pyarrow as pa
        >>> marks = NewValues("user")
        >>> marks.observe(pa.table({"user": ["a", "b"]}))
        >>> marks.encode(pa.table({"user": ["b", "c", None]})).tolist()
        [0.0, 1.0, 0.0]
    """

    def __init__(self, column: str) -> None:
        self.column = column
        self.known = CategoricalTransform(column, Categorical())

    def observe(self, block: Block) -> None:
        """Take a block of training rows into account."""
        self.known.observe(block)

    def accumulators(self) -> list[Accumulator]:
        """Return the vocabulary."""
        return self.known.accumulators()

    def finish(self) -> None:
        """Fit the vocabulary, before transforms are copied."""
        _ = self.known.table.vocabulary

    def encode(self, block: Block) -> np.ndarray:
        """Return 1 where the value is new and 0 otherwise, [B] float64; a missing value is not new."""
        return np.where(self.known.encode(block) == UNKNOWN, 1.0, 0.0)

    def grow(self, state: Mapping[str, Any]) -> None:
        """Take the values of an earlier fit's state for known."""
        self.known.grow(state)

    def state(self) -> dict[str, Any]:
        """Return the known values as plain containers."""
        return self.known.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the known values of a state."""
        self.known.restore(state)
