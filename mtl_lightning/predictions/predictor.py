"""Predictor: raw rows → fitted transforms → model → columns per task."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from mtl_lightning.batch import Batch
from mtl_lightning.build import module_from_config
from mtl_lightning.config import Config
from mtl_lightning.data.arrow.columns import Block, as_written, column, require
from mtl_lightning.data.arrow.numbers import RowError
from mtl_lightning.data.preparation.column_uses import column_uses, read_for
from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.preparation.split import SplitSpec
from mtl_lightning.data.preparation.split_reader import SplitReader
from mtl_lightning.data.readers.blocks import ROW, read_blocks, rebatch
from mtl_lightning.data.readers.files import EmptyFilesError
from mtl_lightning.data.readers.parquet import ROWS
from mtl_lightning.errors import DataError, MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.device import CPU, torch_device
from mtl_lightning.export.graph import inputs_of
from mtl_lightning.export.manifest import digest
from mtl_lightning.interfaces import Source
from mtl_lightning.plugins import registry
from mtl_lightning.predictions.file_options import file_options
from mtl_lightning.predictions.refused_rows import Scored, locate, score_good_rows
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights
from mtl_lightning.training.transfer import send_batch

Score = Callable[[Batch], Mapping[str, np.ndarray]]
"""Function from a batch to predictions per task, [B] or [B, K]."""

BATCH = 8192
"""Number of rows of a batch for exports."""


@dataclass(eq=False)
class Predictor:
    """A model with its fitted transforms, which predicts raw rows.

    Args:
        transforms: Fitted transforms.
        score: Function from a batch to predictions per task, [B] or [B, K].
        identity: Text that identifies the model: models with the same text predict the same.
        size: Number of rows of a batch.
        config: Configuration of the run, or None for an export, which has no data of its own.
        needed: Raw columns that rows must have.
        combined: Function from predictions, and ids of features [B, C], to the combined score, [B]; or None.

    Raises:
        DataError: While predicting, if rows lack a column or hold a wrong type.

    Example:
        ``for block in predictor.blocks("log.csv"): predictor.predict(block)``
    """

    transforms: Transforms
    score: Score
    _: KW_ONLY
    identity: str
    size: int = BATCH
    config: Config | None = None
    needed: tuple[str, ...] = ()
    combined: Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray] | None = None
    block: int = field(default=ROWS, init=False)
    given: dict[str, pa.Array] = field(default_factory=dict, init=False)
    """Columns that rows get in addition or instead of their own, with one value each."""

    @classmethod
    def of_run(cls, run: RunDirectory, config: Config, *, device: str = CPU) -> Self:
        """Build a predictor from the best weights of a run, in torch.

        Args:
            run: The run.
            config: Its configuration.
            device: ``cpu``, ``cuda`` or ``cuda:<number>``.

        Raises:
            MtlError: If the weights do not match the configuration, a file is damaged, or there is no such device.
        """
        place = torch_device(device)
        transforms = Transforms.load(run.transforms)
        module = module_from_config(config, transforms.schema)
        load_weights(module, run.weights())
        network = module.network.to(place).eval()

        def score(batch: Batch) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                predictions = network(send_batch(batch, place, training=False))
                return {name: value.float().cpu().numpy() for name, value in predictions.items()}

        # Devices round differently: parts of one file are predicted on one kind.
        identity = f"run {digest(run.weights())} {digest(run.transforms)}{'' if place.type == CPU else ' cuda'}"
        features = [name for columns in transforms.request_columns.values() for name in columns]
        return cls(
            transforms,
            score,
            identity=identity,
            size=config.data.eval_batch_size,
            config=config,
            needed=tuple(dict.fromkeys(features)),
        )

    @classmethod
    def of_export(cls, folder: Path, size: int = BATCH, *, device: str = CPU) -> Self:
        """Build a predictor from an export, in onnxruntime.

        Args:
            folder: Folder of the export.
            size: Number of rows of a batch.
            device: ``cpu``, ``cuda`` or ``cuda:<number>``.

        Raises:
            MtlError: If the folder differs from its manifest, or the model cannot be loaded or run on the device.
        """
        bundle = Bundle.open(folder, device=device)

        def score(batch: Batch) -> dict[str, np.ndarray]:
            return bundle.run({name: value.numpy() for name, value in inputs_of(batch).items()})

        return cls(
            bundle.transforms,
            score,
            identity=f"export {bundle.identity}{'' if device == CPU else ' cuda'}",
            size=size,
            needed=tuple(bundle.manifest.columns),
            combined=bundle.formula,
        )

    def prefer(self, preference: Sequence[float]) -> None:
        """Predict all rows with these preferences of tasks, in the order of the feature's ``tasks``.

        Args:
            preference: Preference of each task, at least 0; they are divided by their sum.

        Raises:
            MtlError: If the model reads no preferences, or the values do not fit its tasks.
        """
        features = {name: part for name, part in self.transforms.features.items() if part.preferred()}
        if not features:
            raise MtlError("preference: the model reads no preferences", "train it with weighter=cosmos")
        for name, feature in features.items():
            tasks = feature.preferred()
            if len(preference) != len(tasks) or not all(0 <= value < math.inf for value in preference):
                raise MtlError(
                    f"preference: {list(preference)} is not a number of at least 0 per task",
                    f"the tasks of {name} are {', '.join(tasks)}",
                )
            self.given |= {column: pa.array([list(preference)]) for column in feature.optional_columns(name)}
        self.identity += f" preference {list(preference)}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Raw columns that are written with the predictions: the user, if there is one."""
        return (self.transforms.group,) if self.transforms.group else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw columns of features, heads, metrics and keys; rows may lack columns that only metrics need."""
        features = [name for columns in self.transforms.request_columns.values() for name in columns]
        return tuple(dict.fromkeys([*features, *self.transforms.optional_columns, *self.transforms.raw, *self.keys]))

    def rows(self, data: str | None = None, **options: Any) -> tuple[str, Iterator[Block]]:
        """Read the rows to predict.

        Args:
            data: Path or glob of files with the run's raw columns (labels are not needed). None for the test split of
                the run.
            options: Options of the source ``table`` for the files; others are taken from the run's own files.

        Returns:
            A fingerprint of the rows, and blocks of rows with their numbers in the column ``__row__``.

        Raises:
            MtlError: If there is no ``data`` and the model is an export.
            DataError: If a column is missing.
        """
        if data is not None:
            chosen = options if self.config is None else file_options(self.config, data, options)
            source = _source("table", path=data, **chosen)
            self._set_types(source)
            try:
                present = source.schema().columns
            except EmptyFilesError:
                return source.fingerprint(), iter(())
            self._require_histories(list(present), data)
            require(list(present), self.needed, data)
            rows = read_blocks(source.rows(), [name for name in self.columns if name in present], data)
            return source.fingerprint(), rebatch(rows, self.block)
        if self.config is None:
            raise MtlError("predict needs data=", "an export has no rows of its own")
        self._require_histories((), "the run's test split")
        source = _source(self.config.source.name, **self.config.source.options)
        self._set_types(source, self.config.split)
        columns = tuple(dict.fromkeys([*self.columns, *self.config.split.columns]))
        name = hashlib.sha256(f"{source.fingerprint()} {self.config.split}".encode()).hexdigest()
        return name, rebatch(SplitReader(source, self.config.split, columns).of("test"), self.block)

    def _require_histories(self, present: Sequence[str], place: str) -> None:
        """Check that rows bring the events of each history: they are not built from the rows to predict."""
        for name in self.transforms.histories:
            if name not in present and name not in self.transforms.live:
                message = f"{place}: no column {name!r} with the events of each row's history"
                raise DataError(
                    message, "predict does not build histories; the test split is evaluated by fit and test"
                )

    def _set_types(self, source: Source, split: SplitSpec | None = None) -> None:
        """Let a source give columns the types that they had in training."""
        fitted = self.transforms
        tasks = [label.task for label in fitted.labels.values()]
        keys = [lookup.on for lookup in fitted.lookups.values()]
        read_for(source, column_uses(fitted.features, tasks, split, fitted.group, fitted.raw, keys), fitted)

    def predict(self, block: Block) -> pa.Table:
        """Predict the rows of a block.

        Returns:
            Table of ``row`` (number of the row in its source), keys, a column per task, and ``score`` if there is a
            formula. Tasks with several values per row have a list column.

        Raises:
            DataError: If a value cannot be used; the message names its row and column.
        """
        parts = []
        for part in self._slices(block):
            try:
                parts.append(self._table(part))
            except RowError as error:
                raise locate(part, error) from error
        return pa.concat_tables(parts)

    def predict_good(self, block: Block) -> Scored:
        """Predict the rows of a block that can be read, and return the other rows with the reasons.

        Raises:
            DataError: If a column cannot be read in any row.
        """
        parts = [score_good_rows(part, self._table) for part in self._slices(block)]
        return Scored(*(pa.concat_tables(tables) for tables in zip(*parts, strict=True)))

    def empty(self, keys: Mapping[str, pa.DataType] | None = None) -> pa.Table:
        """Return the table of predictions without rows.

        Args:
            keys: Types of the keys; None for their types in training.
        """
        if keys is None:
            keys = {name: pa.string() if name in self.transforms.text else pa.int64() for name in self.keys}
        others = {name: pa.nulls(1) for name in self.columns if name not in self.keys or name in self.needed}
        missing = {**others, **{name: pa.nulls(1, kind) for name, kind in keys.items()}}
        return self._table(pa.table({**missing, ROW: [0]})).slice(0, 0)

    def _slices(self, block: Block) -> Iterator[Block]:
        return (block.slice(start, self.size) for start in range(0, block.num_rows, self.size))

    def _table(self, part: Block) -> pa.Table:
        if not part.num_rows:
            return self.empty({name: column(part, name).type for name in self.keys if name in part.schema.names})
        same = pa.array(np.zeros(part.num_rows, dtype=np.int64))
        rows = {name: part[name] for name in part.schema.names} | {
            name: value.take(same) for name, value in self.given.items()
        }
        batch = self.transforms.encode(pa.table(rows))
        predictions = self.score(batch)
        keys = {name: as_written(part, name) for name in self.keys if name in part.schema.names}
        tasks = {name: _column(values) for name, values in predictions.items()}
        if self.combined is not None:
            tasks.setdefault("score", pa.array(self.combined(predictions, batch.ids.numpy())))
        return pa.table({"row": part[ROW], **keys, **tasks})


def _source(name: str, **options: Any) -> Source:
    source: Source = registry().resolve("source", name)(**options)
    return source


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
