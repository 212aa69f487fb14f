"""Everything that is fitted to the training split; the same object encodes rows to train on and rows to serve."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.data.arrow.columns import Block, as_written, column, require
from mtl_lightning.data.arrow.hashing import group_numbers
from mtl_lightning.data.arrow.threads import FEW, in_threads
from mtl_lightning.data.features.base import Feature, Transform
from mtl_lightning.data.features.build import build_features, build_transforms, kind_of
from mtl_lightning.data.features.history import HistoryTransform
from mtl_lightning.data.features.saved import check_fitted, check_references, check_transforms
from mtl_lightning.data.preparation import growth
from mtl_lightning.data.preparation.cold_start import Cold, slice_name
from mtl_lightning.data.preparation.given_histories import given_history, listed_in_column
from mtl_lightning.data.preparation.state_file import read_state, reading_state, write_state
from mtl_lightning.data.preparation.text_columns import parsed_columns, text_columns
from mtl_lightning.data.readers.frames import as_table
from mtl_lightning.data.store.store import Store
from mtl_lightning.data.targets.labels import Label
from mtl_lightning.data.targets.raw_columns import raw_names, raw_values
from mtl_lightning.schema import Schema, Task


class Transforms:
    """Everything that is fitted: features, labels, and which raw columns come along.

    Args:
        features: Features by name.
        tasks: Tasks, parents before children.
        raw: Raw numeric columns to carry along.
        group: Column with the user, or None.
        cold: Columns whose new values are marked in a raw column; see
            :class:`~mtl_lightning.data.preparation.cold_start.Cold`.
        columns: Names of the source's columns, if they are known.

    Example:
        >>> import pyarrow as pa
        >>> fitted = Transforms(build_features({"user": "categorical"}), ())
        >>> fitted.fit([pa.table({"user": ["a", "b", "a"]})])
        >>> again = Transforms.from_dict(json.loads(json.dumps(fitted.to_dict())))
        >>> again.encode(pa.table({"user": ["b", "new", None]})).ids.tolist()
        [[3], [1], [0]]
    """

    def __init__(
        self,
        features: Mapping[str, Feature],
        tasks: Iterable[Task],
        raw: Iterable[str] = (),
        group: str | None = None,
        cold: Iterable[str] = (),
        columns: Iterable[str] = (),
    ) -> None:
        self.features = dict(features)
        self.known = tuple(columns)
        self.labels = {task.name: Label(task, self.known) for task in tasks}
        known = (label.task.oracle for label in self.labels.values())
        self.raw = tuple(dict.fromkeys([*raw, *(name for name in known if name)]))
        self.group = group
        self.cold = {slice_name(one): Cold(one) for one in cold}
        self.transforms: dict[str, Transform] = build_transforms(self.features)
        self.text: set[str] = set()
        self.tokens: tuple[str, ...] | None = None  # None for runs of versions in which use didn't decide on types
        self.base: Self | None = None  # see growth.begin
        self.feature_columns = {name: one.columns(name) for name, one in self.features.items()}
        self.event_columns = {name: one.event_columns(name) for name, one in self.features.items()}
        self.request_columns = {name: one.request_columns(name) for name, one in self.features.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw columns that are read to prepare."""
        read = (*self.feature_columns.values(), *self.event_columns.values())
        names = [name for columns in read for name in columns]
        names += [name for label in self.labels.values() for name in label.columns]
        names += [*self.raw, *([self.group] if self.group else []), *(one.column for one in self.cold.values())]
        return tuple(dict.fromkeys(names))

    @property
    def schema(self) -> Schema:
        """The fitted schema."""
        return Schema(
            fields=tuple(transform.field() for transform in self.transforms.values()),
            tasks=tuple(label.task for label in self.labels.values()),
            group=self.group,
            raw=(*raw_names(self.raw, self.labels.values()), *self.cold),
        )

    @property
    def histories(self) -> dict[str, HistoryTransform]:
        """Transforms of histories by name."""
        return {name: part for name, part in self.transforms.items() if isinstance(part, HistoryTransform)}

    def fit(self, blocks: Iterable[Block]) -> None:
        """Fit to blocks of training rows, in one pass."""
        for block in blocks:
            self.observe(block)
        self.finish()

    def observe(self, block: Block) -> None:
        """Take one block of training rows into account."""
        others = [name for label in self.labels.values() for name in label.columns]
        others += [self.group or "", *(one.column for one in self.cold.values())]
        self.text |= text_columns(block, {*self.columns} - self.text - parsed_columns(self.features, others))
        in_threads(lambda part: part.observe(block), self._parts(), block.num_rows)

    def finish(self) -> None:
        """Fit to what was observed.

        Raises:
            DataError: If a label is unknown or constant in all training rows.
        """
        in_threads(lambda part: part.finish(), self._parts(), FEW)
        if self.base is not None:
            growth.finish(self, self.base)

    def _parts(self) -> list[Transform | Label | Cold]:
        return [*self.transforms.values(), *self.labels.values(), *self.cold.values()]

    def encode_features(self, block: Block) -> dict[str, np.ndarray]:
        """The Store's parts that features make: ``ids``, ``dense``, ``sequence/…``, ``vector/…``, ``time/…``.

        Slices of histories are not among them: they depend on other rows.
        """
        encoded = in_threads(lambda one: one.encode(block), self.transforms.values(), block.num_rows)
        found = dict(zip(self.transforms, encoded, strict=True))
        fields = self.schema.fields
        rows = block.num_rows
        ids = [found[one.name] for one in fields if one.kind == "categorical"]
        dense = [found[one.name] for one in fields if one.kind == "numeric"]
        parts = {
            "ids": np.stack(ids, axis=1) if ids else np.zeros((rows, 0), dtype=np.int32),
            "dense": np.stack(dense, axis=1) if dense else np.zeros((rows, 0), dtype=np.float32),
        }
        wide = (one for one in fields if one.kind in ("sequence", "vector"))
        parts |= {f"{one.kind}/{one.name}": found[one.name] for one in wide}
        return parts | {f"time/{one.name}": found[one.name] for one in fields if one.kind == "history" and one.gap}

    def encode_labels(self, block: Block) -> dict[str, np.ndarray]:
        """The Store's parts that tasks make: ``labels``, ``mask`` and, if any task is weighted, ``weight``."""
        rows = block.num_rows
        encoded = in_threads(lambda label: label.encode(block), self.labels.values(), rows)
        parts = {
            "labels": np.concatenate([np.zeros((rows, 0), dtype=np.float32), *(one for one, _ in encoded)], axis=1),
            "mask": np.stack([known for _, known in encoded], axis=1) if encoded else np.zeros((rows, 0), dtype=bool),
        }
        if any(label.weighted for label in self.labels.values()):
            weights = [label.weights(block) for label in self.labels.values()]
            ones = np.ones(rows, dtype=np.float32)
            parts["weight"] = np.stack([ones if one is None else one for one in weights], axis=1)
        return parts

    def encode_raw(self, block: Block, *, absent: bool = False) -> dict[str, np.ndarray]:
        """The Store's parts that come along: ``group`` and ``raw/…``.

        Args:
            block: The rows.
            absent: Columns may be absent; their values are NaN then, and there is no group.
        """
        names = set(block.schema.names) if absent else None

        def there(name: str) -> bool:
            return names is None or name in names

        rows = block.num_rows
        columns = {name: column(block, name) if there(name) else pa.nulls(rows) for name in self.raw}
        parts = {f"raw/{name}": values for name, values in raw_values(columns, self.labels.values()).items()}
        for name, cold in self.cold.items():
            parts[f"raw/{name}"] = cold.encode(block) if there(cold.column) else np.full(rows, np.nan)
        if self.group and there(self.group):
            parts["group"] = group_numbers(as_written(block, self.group), self.group)
        return parts

    def encode(self, rows: Any) -> Batch:
        """Rows without labels, as they come when serving.

        Args:
            rows: ``pa.Table``, ``RecordBatch``, pandas frame, mapping of columns, or list of row mappings. Raw columns
                that are absent are NaN: only losses and metrics need them. A history is a column of its name: of each
                row a list of events, or parallel lists, with their raw columns.

        Raises:
            DataError: If a feature's column is missing or holds a wrong type.
        """
        table = as_table(rows)
        for name, needed in self.request_columns.items():
            require(table.column_names, needed, f"features.{name}")
        schema, count = self.schema, table.num_rows
        parts = self.encode_features(table) | self.encode_raw(table, absent=True)
        events = {}
        for name, history in self.histories.items():
            given = given_history(
                listed_in_column(column(table, name), history), column(table, history.feature.time), history
            )
            events[name], parts[f"history/{name}"] = given.events, given.slices
        parts["labels"] = np.zeros((count, schema.label_width), dtype=np.float32)
        parts["mask"] = np.zeros((count, len(schema.tasks)), dtype=bool)
        # Arrow hands out read-only arrays, which torch does not take.
        tensors = {name: torch.from_numpy(np.require(values, requirements="W")) for name, values in parts.items()}
        return Store(schema, tensors, events=events).batch(slice(0, count))

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON; :meth:`from_dict` gives an object that encodes the same, bit for bit."""
        return {
            "features": {
                name: {"kind": kind_of(one), **asdict(one), "fitted": self.transforms[name].state()}  # type: ignore[call-overload]
                for name, one in self.features.items()
            },
            "tasks": [
                {**asdict(label.task), "parents": list(label.task.parents), "fitted": label.state()}
                for label in self.labels.values()
            ],
            "raw": list(self.raw),
            "group": self.group,
            "cold": {one.column: one.state() for one in self.cold.values()},
            "columns": list(self.known),
            "text": sorted(self.text),
            "tokens": None if self.tokens is None else list(self.tokens),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`; raises MtlError, naming the place, if the state is anything else."""
        check_transforms(state)
        features = build_features({name: _without_fitted(one) for name, one in state["features"].items()})
        check_references(features)
        tasks = [Task(**{**_without_fitted(one), "parents": tuple(one["parents"])}) for one in state["tasks"]]
        built = cls(features, tasks, state["raw"], state["group"], state["cold"], state["columns"])
        for name, one in state["features"].items():
            check_fitted(one["fitted"], getattr(built.transforms[name], "saved", None), f"features.{name}.fitted")
            built.transforms[name].restore(one["fitted"])
        for one in state["tasks"]:
            built.labels[one["name"]].restore(one["fitted"])
        for one in built.cold.values():
            one.restore(state["cold"][one.column])
        built.text = set(state.get("text", ()))  # runs of earlier versions say nothing of it
        built.tokens = None if state.get("tokens") is None else tuple(state["tokens"])
        return built

    @property
    def identity(self) -> str:
        """The same for what gives every value the same id and number."""
        state = self.to_dict()
        told = json.dumps([state[part] for part in ("features", "tasks", "cold")], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write as JSON; who reads meanwhile sees the old file or the new one.

        Raises:
            DataError: If they hold what :meth:`load` would refuse, such as a limit that is infinite.
        """
        write_state(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: If the file is missing, damaged, or holds anything that transforms don't have.
        """
        with reading_state(path):
            return cls.from_dict(read_state(path))


def _without_fitted(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "fitted"}
