"""Preference features: how much each task matters, chosen by the weighter in training and by the request later."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.features.base import Feature, StatelessTransform, Transform, check
from mtl_lightning.data.features.vector import Vector
from mtl_lightning.schema import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference(Feature):
    """Preferences of tasks, which a weighter such as ``cosmos`` draws in training. No column of the log is needed.

    Rows without them (validation, test, requests that do not bring them) prefer all tasks alike.

    Args:
        tasks: The recipe's tasks, in the order of the values.
        column: Column of a row to be predicted that may hold the preferences; None for the feature's name. They are at
            least 0 and divided by their sum; a row without any, or with zeros only, prefers all tasks alike.

    Raises:
        DataError: If a task is listed twice; while encoding, if a value is negative or the number of values is wrong.

    Example:
        >>> import pyarrow as pa
        >>> preference = Preference(tasks=("click", "conversion")).build("preference", {})
        >>> preference.encode(pa.table({"user": [7]})).tolist()
        [[0.5, 0.5]]
        >>> preference.encode(pa.table({"preference": [[3.0, 1.0], None]})).tolist()
        [[0.75, 0.25], [0.5, 0.5]]
    """

    kind: ClassVar[str] = "preference"
    makes: ClassVar[str] = "vector"
    tasks: tuple[str, ...]
    column: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        check(bool(self.tasks), "tasks is empty", "list the recipe's tasks")
        check(len({*self.tasks}) == len(self.tasks), f"tasks are {list(self.tasks)}", "each task once")

    @override
    def columns(self, name: str) -> tuple[str, ...]:
        return ()

    @override
    def optional_columns(self, name: str) -> tuple[str, ...]:
        return (self.column or name,)

    @override
    def preferred(self) -> tuple[str, ...]:
        return self.tasks

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "PreferenceTransform":
        return PreferenceTransform(name, self)


class PreferenceTransform(StatelessTransform):
    """Preferences that sum to 1."""

    def __init__(self, name: str, feature: Preference) -> None:
        self.name, self.tasks = name, feature.tasks
        self.column = feature.column or name
        self.given = Vector(column=self.column, size=len(self.tasks)).build(name, {})

    @override
    def field(self) -> Field:
        return Field(name=self.name, kind="vector", size=len(self.tasks), tasks=self.tasks)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as preferences, [B, T] float32."""
        even = np.full((block.num_rows, len(self.tasks)), 1 / len(self.tasks), dtype=np.float32)
        if self.column not in block.schema.names:
            return even
        values = self.given.encode(block)
        if (values < 0).any():
            raise RowError(f"column {self.column!r} holds a negative preference", int((values < 0).any(1).argmax()))
        total = values.sum(1, dtype=np.float64, keepdims=True)
        return np.where(total > 0, values / np.where(total > 0, total, 1.0), even).astype(np.float32)
