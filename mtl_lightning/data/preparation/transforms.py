"""Everything that is fitted to the training split; the same transforms encode rows for training and for serving."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.data.arrow.columns import Block, as_written, column, require
from mtl_lightning.data.arrow.hashing import group_numbers
from mtl_lightning.data.arrow.threads import FEW, map_threads
from mtl_lightning.data.features.base import Accumulator, Feature, MergeableTransform, Transform
from mtl_lightning.data.features.build import build_features, build_transforms, kind_of
from mtl_lightning.data.features.column_reader import ColumnReader
from mtl_lightning.data.features.history import HistoryTransform
from mtl_lightning.data.features.side_tables import join, without_lookups
from mtl_lightning.data.features.state_structure import check_fitted, check_references, check_transforms
from mtl_lightning.data.preparation import growth
from mtl_lightning.data.preparation.cold_start import NewValues, slice_name
from mtl_lightning.data.preparation.given_histories import given_history, listed_in_column
from mtl_lightning.data.preparation.live_histories import LiveHistories
from mtl_lightning.data.preparation.lookups import Lookup
from mtl_lightning.data.preparation.request_keys import request_keys
from mtl_lightning.data.preparation.state_file import read_state, reading_state, write_state
from mtl_lightning.data.preparation.text_columns import parsed_columns, text_columns
from mtl_lightning.data.readers.frames import as_table
from mtl_lightning.data.store.latest_events import LatestEvents
from mtl_lightning.data.store.store import Store
from mtl_lightning.data.targets.labels import Label
from mtl_lightning.data.targets.raw_columns import raw_names, raw_values
from mtl_lightning.schema import Schema, Task


class Transforms:
    """Transforms of all features and labels, and the raw columns that are stored with them.

    Args:
        features: Features by name.
        tasks: Tasks, parents before children.
        raw: Raw numeric columns to store with the rows; oracles of tasks are added.
        group: Column with the user, or None.
        cold: Columns whose new values are marked in a raw column; see
            :class:`~mtl_lightning.data.preparation.cold_start.NewValues`.
        columns: Names of the source's columns, if known.
        lookups: Side tables whose columns features read; filled before rows are observed.
        request: Columns whose values are equal in the rows of a request.
        per_request: Features that are constant within a request; None where that is to be measured.

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
        lookups: Iterable[Lookup] = (),
        request: Iterable[str] = (),
        per_request: Iterable[str] | None = None,
    ) -> None:
        self.request = tuple(request)
        self.per_request = None if per_request is None else tuple(per_request)
        self.features = dict(features)
        self.known = tuple(columns)
        self.lookups = {lookup.name: lookup for lookup in lookups}
        self.labels = {task.name: Label(task, self.known) for task in tasks}
        oracles = (label.task.oracle for label in self.labels.values())
        self.raw = tuple(dict.fromkeys([*raw, *(name for name in oracles if name)]))
        self.group = group
        self.cold = {slice_name(name): NewValues(name) for name in cold}
        self.transforms: dict[str, Transform] = build_transforms(self.features)
        self.use_lookups(self.lookups)
        self.text: set[str] = set()
        self.tokens: tuple[str, ...] | None = None  # None for versions in which uses did not decide on types
        self.base: Self | None = None  # see growth.begin
        self.latest: dict[str, LatestEvents] = {}
        """Latest events of users at the end of the log, by history; not part of the saved state."""
        self.feature_columns = {name: self.raw_columns(part.columns(name)) for name, part in self.features.items()}
        self.event_columns = {name: self.raw_columns(part.event_columns(name)) for name, part in self.features.items()}
        self.request_columns = {
            name: self.raw_columns(part.request_columns(name)) for name, part in self.features.items()
        }
        self.live = LiveHistories({}, {})

    def raw_columns(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the columns of the log that columns depend on: for a column of a side table its key."""
        return without_lookups(self.lookups.values(), names)

    def use_lookups(self, lookups: Mapping[str, Lookup]) -> None:
        """Look columns of rows and events up in side tables, by name."""
        self.lookups = dict(lookups)
        for history in self.histories.values():
            history.lookups = tuple(self.lookups.values())

    def join(self, block: Block) -> Block:
        """Append the columns of side tables to a block."""
        return join(self.lookups.values(), block)

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Raw columns that rows to be scored may have: preferences, and histories whose latest events are known."""
        own = [column for name, feature in self.features.items() for column in feature.optional_columns(name)]
        return tuple(dict.fromkeys([*self.live.latest, *own]))

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw columns that preparation reads."""
        read = (*self.feature_columns.values(), *self.event_columns.values())
        names = [name for columns in read for name in columns]
        names += [name for label in self.labels.values() for name in label.columns]
        names += [
            *self.raw,
            *([self.group] if self.group else []),
            *self.request,
            *(marks.column for marks in self.cold.values()),
        ]
        return tuple(dict.fromkeys(names))

    @property
    def schema(self) -> Schema:
        """The fitted schema."""
        fields, constant = (transform.field() for transform in self.transforms.values()), self.per_request or ()
        return Schema(
            fields=tuple(replace(part, per_request=part.name in constant and not part.tasks) for part in fields),
            tasks=tuple(label.task for label in self.labels.values()),
            group=self.group,
            raw=(*raw_names(self.raw, self.labels.values()), *self.cold),
        )

    @property
    def histories(self) -> dict[str, HistoryTransform]:
        """Transforms of histories by name."""
        return {name: part for name, part in self.transforms.items() if isinstance(part, HistoryTransform)}

    @property
    def readers(self) -> dict[str, ColumnReader]:
        """Readers of the features that read an expression, by name."""
        readers = {name: getattr(transform, "reader", None) for name, transform in self.transforms.items()}
        return {
            name: reader
            for name, reader in readers.items()
            if isinstance(reader, ColumnReader) and reader.expression is not None
        }

    def serve(self, latest: Mapping[str, LatestEvents]) -> None:
        """Let rows that bring no events have the events of their users.

        Args:
            latest: Latest events of users, by history.
        """
        self.live = LiveHistories(self.histories, latest)
        for name in latest:
            self.request_columns[name] = self.feature_columns[name]

    def fit(self, blocks: Iterable[Block]) -> None:
        """Fit to blocks of training rows, in one pass.

        Raises:
            DataError: If a block cannot be read, or a label is missing or constant in all rows.
        """
        for block in blocks:
            self.observe(block)
        self.finish()

    def observe(self, block: Block) -> None:
        """Take a block of training rows into account.

        Raises:
            DataError: If a column cannot be read; further errors are in its ``others``.
        """
        others = [name for label in self.labels.values() for name in label.columns]
        others += [self.group or "", *self.request, *(marks.column for marks in self.cold.values())]
        self.text |= text_columns(block, {*self.columns} - self.text - parsed_columns(self.features, others))
        block = self.join(block)
        for reader in self.readers.values():
            reader.learn_types(block)
        map_threads(lambda part: part.observe(block), self._parts(), block.num_rows)

    @property
    def mergeable(self) -> bool:
        """True if workers can observe different blocks; a plugin's transform may not have this."""
        return all(isinstance(part, MergeableTransform) for part in self._parts())

    def _accumulators(self) -> list[Accumulator]:
        return [state for part in self._parts() for state in part.accumulators()]  # type: ignore[union-attr]

    def record(self) -> None:
        """Forget the observed blocks, and collect what is observed from now on for :meth:`partial`."""
        for state in self._accumulators():
            state.record()

    def partial(self) -> dict[str, Any]:
        """Return what was observed since :meth:`record`; it can be pickled."""
        types = {name: reader.types for name, reader in self.readers.items()}
        return {"states": [state.partial() for state in self._accumulators()], "text": self.text, "types": types}

    def merge(self, partial: Mapping[str, Any]) -> None:
        """Add what other transforms observed in the next blocks: bit for bit as if they had been observed here."""
        for state, added in zip(self._accumulators(), partial["states"], strict=True):
            state.merge(added)
        self.text |= partial["text"]
        for name, reader in self.readers.items():
            reader.types = {**partial["types"][name], **reader.types}

    def finish(self) -> None:
        """Fit to the observed blocks.

        Raises:
            DataError: If a label is missing or constant in all training rows.
        """
        map_threads(lambda part: part.finish(), self._parts(), FEW)
        if self.base is not None:
            growth.finish(self, self.base)

    def _parts(self) -> list[Transform | Label | NewValues]:
        return [*self.transforms.values(), *self.labels.values(), *self.cold.values()]

    def encode_features(self, block: Block) -> dict[str, np.ndarray]:
        """Encode the features of a block.

        Returns:
            Parts of the Store: ``ids`` [B, C] int32, ``dense`` [B, F] float32, ``sequence/…`` [B, L] int32,
            ``vector/…`` [B, d] float32, ``listed/…`` [B, 1 + L × W] int32 for parallel lists.
            Histories are not among them, as they depend on other rows.
        """
        block, rows = self.join(block), block.num_rows
        transforms = {name: part for name, part in self.transforms.items() if not isinstance(part, HistoryTransform)}
        encoded = map_threads(lambda transform: transform.encode(block), transforms.values(), rows)
        values = dict(zip(transforms, encoded, strict=True))
        fields = self.schema.fields
        ids = [values[field.name] for field in fields if field.kind == "categorical"]
        dense = [values[field.name] for field in fields if field.kind == "numeric"]
        parts = {
            "ids": np.stack(ids, axis=1) if ids else np.zeros((rows, 0), dtype=np.int32),
            "dense": np.stack(dense, axis=1) if dense else np.zeros((rows, 0), dtype=np.float32),
        }
        kinds = {"sequence": "sequence", "vector": "vector", "history": "listed"}
        wide = (field for field in fields if field.kind in kinds and field.name in values)
        return parts | {f"{kinds[field.kind]}/{field.name}": values[field.name] for field in wide}

    def encode_labels(self, block: Block) -> dict[str, np.ndarray]:
        """Encode the labels of a block.

        Returns:
            Parts of the Store: ``labels`` [B, sum of label widths] float32 and ``mask`` [B, T] bool, True where
            a label is known. If any task is weighted, also ``weight`` [B, T] float32.
        """
        rows = block.num_rows
        encoded = map_threads(lambda label: label.encode(block), self.labels.values(), rows)
        parts = {
            "labels": np.concatenate(
                [np.zeros((rows, 0), dtype=np.float32), *(labels for labels, _ in encoded)], axis=1
            ),
            "mask": np.stack([known for _, known in encoded], axis=1) if encoded else np.zeros((rows, 0), dtype=bool),
        }
        if any(label.weighted for label in self.labels.values()):
            weights = [label.weights(block) for label in self.labels.values()]
            ones = np.ones(rows, dtype=np.float32)
            parts["weight"] = np.stack([ones if weight is None else weight for weight in weights], axis=1)
        return parts

    def encode_raw(self, block: Block, *, absent: bool = False) -> dict[str, np.ndarray]:
        """Encode the group and the raw columns of a block.

        Args:
            block: Block of rows.
            absent: Whether columns may be absent. Their values are NaN then, and there is no group.

        Returns:
            Parts of the Store: ``group`` [B], ``request`` [B], the key of the request, and ``raw/…`` [B] float64.
        """
        names = set(block.schema.names) if absent else None

        def is_present(name: str) -> bool:
            return names is None or name in names

        rows = block.num_rows
        columns = {name: column(block, name) if is_present(name) else pa.nulls(rows) for name in self.raw}
        parts = {f"raw/{name}": values for name, values in raw_values(columns, self.labels.values()).items()}
        for name, marks in self.cold.items():
            parts[f"raw/{name}"] = marks.encode(block) if is_present(marks.column) else np.full(rows, np.nan)
        if self.group and is_present(self.group):
            parts["group"] = group_numbers(as_written(block, self.group), self.group)
        if self.request and not absent:
            parts["request"] = request_keys(block, self.request)
        return parts

    def encode(self, rows: Any) -> Batch:
        """Encode rows without labels, as they are served.

        Args:
            rows: ``pa.Table``, ``RecordBatch``, pandas frame, mapping of columns, or list of mappings. Absent raw
                columns are NaN, as only losses and metrics need them. A history is a column of its name that holds
                each row's events: a list of records, or a record of lists, with their raw columns. Without it, a row
                has the events of its user after :meth:`serve`.

        Returns:
            Batch of all rows, with labels that are zero and masked.

        Raises:
            DataError: If the column of a feature is missing or has a wrong type.
        """
        table = as_table(rows)
        for name, columns in self.request_columns.items():
            require(table.column_names, columns, f"features.{name}")
        schema, count = self.schema, table.num_rows
        parts = self.encode_features(table) | self.encode_raw(table, absent=True)
        events = {}
        histories = {}
        asked = {}
        for name, history in self.histories.items():
            times = column(table, history.feature.time)
            if name in self.live and name not in table.column_names:
                asked[name] = as_written(table, history.feature.by), times
            else:
                histories[name] = given_history(listed_in_column(column(table, name), history), times, history)
        for name, given in {**histories, **self.live.given(asked)}.items():
            events[name], parts[f"history/{name}"] = given.events, given.rows
        parts["labels"] = np.zeros((count, schema.label_width), dtype=np.float32)
        parts["mask"] = np.zeros((count, len(schema.tasks)), dtype=bool)
        # Arrow returns read-only arrays, which torch does not accept.
        tensors = {name: torch.from_numpy(np.require(values, requirements="W")) for name, values in parts.items()}
        return Store(schema, tensors, events=events).batch(slice(0, count))

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON; transforms of :meth:`from_dict` encode the same values, bit for bit."""
        return {
            "features": {
                name: {"kind": kind_of(feature), **asdict(feature), "fitted": self.transforms[name].state()}  # type: ignore[call-overload]
                for name, feature in self.features.items()
            },
            "tasks": [
                {**asdict(label.task), "parents": list(label.task.parents), "fitted": label.state()}
                for label in self.labels.values()
            ],
            "raw": list(self.raw),
            "group": self.group,
            **(
                {"request": {"columns": list(self.request), "constant": [*(self.per_request or ())]}}
                if self.request
                else {}
            ),
            "cold": {marks.column: marks.state() for marks in self.cold.values()},
            "columns": list(self.known),
            "text": sorted(self.text),
            "tokens": None if self.tokens is None else list(self.tokens),
            "lookups": {name: lookup.state() for name, lookup in self.lookups.items()},
            "types": {name: dict(sorted(reader.types.items())) for name, reader in self.readers.items()},
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], folder: Path | None = None) -> Self:
        """Build transforms from the plain containers of :meth:`to_dict`.

        Args:
            state: The plain containers.
            folder: Folder with the rows of side tables; None leaves these without rows.

        Raises:
            MtlError: If a value is missing, unknown or out of range; the message names its place.
        """
        check_transforms(state)
        features = build_features({name: _without_fitted(saved) for name, saved in state["features"].items()})
        check_references(features)
        tasks = [Task(**{**_without_fitted(saved), "parents": tuple(saved["parents"])}) for saved in state["tasks"]]
        lookups = {name: Lookup(name, part["on"]) for name, part in state.get("lookups", {}).items()}
        if folder is not None:
            for name, lookup in lookups.items():
                lookup.load(folder, state["lookups"][name])
        columns = (state["raw"], state["group"], state["cold"], state["columns"])
        request = state.get("request") or {"columns": (), "constant": ()}
        built = cls(features, tasks, *columns, lookups.values(), request["columns"], request["constant"])
        for name, saved in state["features"].items():
            check_fitted(saved["fitted"], getattr(built.transforms[name], "saved", None), f"features.{name}.fitted")
            built.transforms[name].restore(saved["fitted"])
        for saved in state["tasks"]:
            built.labels[saved["name"]].restore(saved["fitted"])
        for marks in built.cold.values():
            marks.restore(state["cold"][marks.column])
        built.text = set(state.get("text", ()))  # earlier versions did not save it
        built.tokens = None if state.get("tokens") is None else tuple(state["tokens"])
        for name, reader in built.readers.items():
            reader.types = dict(state.get("types", {}).get(name, {}))
        return built

    @property
    def identity(self) -> str:
        """Digest of features, tasks and cold columns with their fitted states, which decide on all encoded values."""
        state = self.to_dict()
        described = json.dumps(
            [state[part] for part in ("features", "tasks", "cold", "types", "lookups")], sort_keys=True
        )
        return hashlib.sha256(described.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write a JSON file, and side tables next to it; readers see the old file or the new one.

        Raises:
            DataError: If a value would be refused by :meth:`load`, such as an infinite limit.
        """
        for lookup in self.lookups.values():
            lookup.save(path.parent)
        write_state(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that :meth:`save` wrote.

        Raises:
            DataError: If the file is missing or damaged, or a value is unknown or out of range.
        """
        with reading_state(path):
            return cls.from_dict(read_state(path), path.parent)


def _without_fitted(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "fitted"}
