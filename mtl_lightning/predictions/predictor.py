"""What predicts: raw rows → fitted transforms → network → columns per task."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
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
from mtl_lightning.data.readers.blocks import ROW, ROWS, read_blocks, rebatch
from mtl_lightning.data.readers.files import EmptyFilesError
from mtl_lightning.errors import MtlError
from mtl_lightning.export.bundle import Bundle
from mtl_lightning.export.graph import inputs_of
from mtl_lightning.export.manifest import digest
from mtl_lightning.interfaces import Source
from mtl_lightning.plugins import registry
from mtl_lightning.predictions.file_form import form_of
from mtl_lightning.predictions.refused import Scored, locate, score_good_rows
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.resumption import load_weights

Score = Callable[[Batch], Mapping[str, np.ndarray]]
BATCH = 8192


class Predictor:
    """A model with the transforms that were fitted when it was trained.

    Args:
        transforms: The fitted transforms.
        score: A batch → predictions per task, [B] or [B, K].
        identity: Names the model: the same text, the same predictions.
        size: Rows at a time.
        config: The configuration of its run, or None for an export, which has no data of its own.
        needed: Raw columns that the model itself reads.
        combined: The combined score of predictions, if there is one.

    Raises:
        DataError: If rows lack a column or hold a wrong type.

    Example:
        ``for block in predictor.blocks("log.csv"): predictor.predict(block)``
    """

    def __init__(
        self,
        transforms: Transforms,
        score: Score,
        *,
        identity: str,
        size: int = BATCH,
        config: Config | None = None,
        needed: tuple[str, ...] = (),
        combined: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None,
    ) -> None:
        self.transforms = transforms
        self.score = score
        self.identity = identity
        self.size = size
        self.block = ROWS
        self.config = config
        self.needed = needed
        self.combined = combined

    @classmethod
    def of_run(cls, run: RunDirectory, config: Config) -> Self:
        """A run's best weights, in torch."""
        transforms = Transforms.load(run.transforms)
        module = module_from_config(config, transforms.schema)
        load_weights(module, run.weights())
        network = module.network.eval()

        def score(batch: Batch) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                return {name: value.float().cpu().numpy() for name, value in network(batch).items()}

        identity = f"run {digest(run.weights())} {digest(run.transforms)}"
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
    def of_export(cls, folder: Path, size: int = BATCH) -> Self:
        """An export, in onnxruntime."""
        bundle = Bundle.open(folder)

        def score(batch: Batch) -> dict[str, np.ndarray]:
            return bundle.run({name: value.numpy() for name, value in inputs_of(batch).items()})

        return cls(
            bundle.transforms,
            score,
            identity=f"export {bundle.identity}",
            size=size,
            needed=tuple(bundle.manifest.columns),
            combined=bundle.formula,
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """Raw columns that are written beside the predictions: the user, if the run knows one."""
        return (self.transforms.group,) if self.transforms.group else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw columns that features, heads and keys read; a table may lack those that only metrics need."""
        features = [name for columns in self.transforms.request_columns.values() for name in columns]
        return tuple(dict.fromkeys([*features, *self.transforms.raw, *self.keys]))

    def rows(self, data: str | None = None, **options: Any) -> tuple[str, Iterator[Block]]:
        """What names the rows (it changes when they do), and the rows in blocks, each with its number.

        Args:
            data: Path or glob of a table with the run's raw columns (labels are not needed); None for the run's own
                test split.
            options: How the table is written (options of the source ``table``); else as the run's own files.

        Raises:
            MtlError: If nothing is given and the model is an export.
            DataError: If a column is missing.
        """
        if data is not None:
            form = options if self.config is None else form_of(self.config, data, options)
            source = _source("table", path=data, **form)
            self._tell(source)
            try:
                present = source.schema().columns
            except EmptyFilesError:
                return source.fingerprint(), iter(())
            require(list(present), self.needed, data)
            found = read_blocks(source.rows(), [name for name in self.columns if name in present], data)
            return source.fingerprint(), rebatch(found, self.block)
        if self.config is None:
            raise MtlError("predict needs data=", "an export has no rows of its own")
        source = _source(self.config.source.name, **self.config.source.options)
        self._tell(source, self.config.split)
        columns = tuple(dict.fromkeys([*self.columns, *self.config.split.columns]))
        name = hashlib.sha256(f"{source.fingerprint()} {self.config.split}".encode()).hexdigest()
        return name, rebatch(SplitReader(source, self.config.split, columns).of("test"), self.block)

    def _tell(self, source: Source, split: SplitSpec | None = None) -> None:
        """Let a source give columns the types that they had in training."""
        known = self.transforms
        tasks = [label.task for label in known.labels.values()]
        read_for(source, column_uses(known.features, tasks, split, known.group, known.raw), known)

    def predict(self, block: Block) -> pa.Table:
        """``row`` (number of the row in its source), keys, a column per task, and ``score`` if there is a formula.

        Tasks with several values per row have a list column.

        Raises:
            DataError: If a value can't be used; the message names its row and column.
        """
        parts = []
        for part in self._slices(block):
            try:
                parts.append(self._table(part))
            except RowError as error:
                raise locate(part, error) from error
        return pa.concat_tables(parts)

    def predict_good(self, block: Block) -> Scored:
        """The same for the rows that can be read; the others, with the reasons, beside them.

        Raises:
            DataError: If a column can't be read in any row.
        """
        parts = [score_good_rows(part, self._table) for part in self._slices(block)]
        return Scored(*(pa.concat_tables(tables) for tables in zip(*parts, strict=True)))

    def empty(self, keys: Mapping[str, pa.DataType] | None = None) -> pa.Table:
        """The columns of predictions, without a row.

        Args:
            keys: Types of the keys; None for those that they had in training.
        """
        if keys is None:
            keys = {name: pa.string() if name in self.transforms.text else pa.int64() for name in self.keys}
        others = {name: pa.nulls(1) for name in self.columns if name not in self.keys or name in self.needed}
        nothing = {**others, **{name: pa.nulls(1, kind) for name, kind in keys.items()}}
        return self._table(pa.table({**nothing, ROW: [0]})).slice(0, 0)

    def _slices(self, block: Block) -> Iterator[Block]:
        return (block.slice(start, self.size) for start in range(0, block.num_rows, self.size))

    def _table(self, part: Block) -> pa.Table:
        if not part.num_rows:
            return self.empty({name: column(part, name).type for name in self.keys if name in part.schema.names})
        predictions = self.score(self.transforms.encode(part))
        keys = {name: as_written(part, name) for name in self.keys if name in part.schema.names}
        tasks = {name: _column(values) for name, values in predictions.items()}
        if self.combined is not None:
            tasks.setdefault("score", pa.array(self.combined(predictions)))
        return pa.table({"row": part[ROW], **keys, **tasks})


def _source(name: str, **options: Any) -> Source:
    source: Source = registry().resolve("source", name)(**options)
    return source


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
