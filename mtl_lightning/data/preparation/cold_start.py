"""Cold-start slices: rows whose user or item is new to the training split."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.features.categorical import Categorical, CategoricalTransform
from mtl_lightning.schema import UNKNOWN


def slice_name(column: str) -> str:
    """Name of the raw column that marks new values of a column."""
    return f"new_{column}"


class Cold:
    """Remembers all values of a column in training rows, however rare, and marks values that are new.

    Args:
        column: Raw column.

    Example:
        >>> import pyarrow as pa
        >>> cold = Cold("user")
        >>> cold.observe(pa.table({"user": ["a", "b"]}))
        >>> cold.encode(pa.table({"user": ["b", "c", None]})).tolist()
        [0.0, 1.0, 0.0]
    """

    def __init__(self, column: str) -> None:
        self.column = column
        self.known = CategoricalTransform(column, Categorical())

    def observe(self, block: Block) -> None:
        """Take training rows into account."""
        self.known.observe(block)

    def finish(self) -> None:
        """The values are fixed on first use."""

    def encode(self, block: Block) -> np.ndarray:
        """1 where the value is new, else 0, [B] float64; a missing value is not new."""
        return np.where(self.known.encode(block) == UNKNOWN, 1.0, 0.0)

    def grow(self, state: Mapping[str, Any]) -> None:
        """Values of an earlier training are not new."""
        self.known.grow(state)

    def state(self) -> dict[str, Any]:
        """The values."""
        return self.known.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """The values."""
        self.known.restore(state)
