"""Predictions of a trained run for rows as they come: raw rows → fitted transforms → network → columns per task."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mtl_lightning.build import module_from_config
from mtl_lightning.checkpoint import AtomicCheckpointIO
from mtl_lightning.config import Config
from mtl_lightning.data.blocks import ROW, blocks
from mtl_lightning.data.columns import Block
from mtl_lightning.data.prepared import Transforms
from mtl_lightning.data.reading import Reader
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import Source
from mtl_lightning.network import Network
from mtl_lightning.plugins import registry
from mtl_lightning.rundir import TEMPORARY, RunDir


class Predictor:
    """A run's best weights with the transforms that were fitted when it was trained.

    Args:
        network: The trained network.
        transforms: Its fitted transforms.
        config: The run's configuration: its source, its split, and the size of batches.

    Raises:
        DataError: If rows lack a column or hold a wrong type.

    Example:
        ``for table in Predictor.open(RunDir.open("runs/ads/…"), config).predict(blocks): …``
    """

    def __init__(self, network: Network, transforms: Transforms, config: Config) -> None:
        self.network = network.eval()
        self.transforms = transforms
        self.config = config

    @classmethod
    def open(cls, run: RunDir, config: Config) -> Self:
        """The predictor of a run."""
        transforms = Transforms.load(run.transforms)
        module = module_from_config(config, transforms.schema)
        checkpoint = AtomicCheckpointIO().load_checkpoint(run.weights())
        module.load_state_dict(checkpoint["state_dict"])
        return cls(module.network, transforms, config)

    @property
    def keys(self) -> tuple[str, ...]:
        """Raw columns that are written beside the predictions: the user, if the run knows one."""
        return (self.transforms.group,) if self.transforms.group else ()

    def rows(self, data: str | None = None) -> Iterator[Block]:
        """Raw rows in blocks, each with its number.

        Args:
            data: Path or glob of a table with the run's raw columns (labels are not needed); None for the run's own
                test split.
        """
        if data is not None:
            source = _source("table", path=data)
            present = source.schema().columns
            return blocks(source.rows(), [name for name in self.needed if name in present], data)
        source = _source(self.config.source.name, **self.config.source.options)
        columns = tuple(dict.fromkeys([*self.needed, *self.config.split.columns]))
        return Reader(source, self.config.split, columns).of("test")

    @property
    def needed(self) -> tuple[str, ...]:
        """Raw columns that features, heads and keys read."""
        features = [name for columns in self.transforms.feature_columns.values() for name in columns]
        return tuple(dict.fromkeys([*features, *self.transforms.raw, *self.keys]))

    def predict(self, rows: Iterable[Block]) -> Iterator[pa.Table]:
        """A table per batch: ``row`` (number of the row in its source), keys, and a column per task.

        Tasks with several values per row have a list column.
        """
        size = self.config.data.eval_batch_size
        for block in rows:
            for start in range(0, block.num_rows, size):
                yield self._table(block.slice(start, size))

    def _table(self, part: Block) -> pa.Table:
        with torch.inference_mode():
            predictions = self.network(self.transforms.encode(part))
        keys = {name: part[name] for name in self.keys if name in part.column_names}
        return pa.table({"row": part[ROW], **keys, **{name: _column(value) for name, value in predictions.items()}})


def _source(name: str, **options: Any) -> Source:
    source: Source = registry().resolve("source", name)(**options)
    return source


def _column(values: Tensor) -> pa.Array:
    flat = values.float().cpu().numpy()
    if flat.ndim == 1:
        return pa.array(flat)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def write(tables: Iterable[pa.Table], out: Path) -> int:
    """Write tables to a parquet file that appears when it is whole.

    Args:
        tables: Tables of one schema.
        out: The file.

    Returns:
        Number of rows.

    Raises:
        DataError: If there are no rows, or the file can't be written.

    Example:
        >>> import tempfile
        >>> write([pa.table({"row": [0, 1]}), pa.table({"row": [2]})], Path(tempfile.mkdtemp()) / "p.parquet")
        3
    """
    partial = out.with_name(out.name + TEMPORARY)
    writer: Any = None
    count = 0
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(partial, table.schema)
            writer.write_table(table)
            count += table.num_rows
        if writer is None:
            raise DataError("there are no rows to predict")
        writer.close()
        partial.replace(out)
    except OSError as error:
        raise DataError(f"{out} can't be written: {error.strerror or error}") from error
    finally:
        if writer is not None:
            writer.close()
        partial.unlink(missing_ok=True)
    return count
