"""Base class of the loaders of public logs, from a directory of raw files to blocks of declared columns."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import datasets
import pyarrow as pa

from mtl_lightning.data.cache.arrow_tables import cache_rows
from mtl_lightning.data.cache.code_digest import digest, file_of
from mtl_lightning.data.readers.files import stamp
from mtl_lightning.data.readers.listing import expand_user
from mtl_lightning.data.sources.side_table import SideTable
from mtl_lightning.interfaces import DataError, RawSchema, Source

SUFFIXES = ("", ".gz", ".zip")
"""Suffixes of plain and compressed files."""
HERE = Path(__file__).parent
"""Folder of the sources."""
SHARED = [
    HERE / f"{name}.py" for name in ("raw_log", "delimited", "join", "multivalued", "side_table", "../arrow/lists")
]
"""Files with code that several loaders use; a change makes caches stale."""


class RawLog(Source):
    """Base class of public logs in their original files, which are read once, in bounded memory, into the cache.

    A subclass sets :attr:`name`, :attr:`raw` and :attr:`arrow`, lists its files in :meth:`files` and reads them in
    :meth:`tables`.

    Args:
        path: Directory of the raw files.

    Raises:
        DataError: If a file is missing or can't be read; names the file.
    """

    name: ClassVar[str]
    """Name of the source."""
    raw: RawSchema
    """Columns, and suggested features and tasks."""
    arrow: pa.Schema
    """Arrow schema of the rows."""

    def __init__(self, *, path: str) -> None:
        self.path = expand_user(path)

    @abstractmethod
    def files(self) -> list[Path]:
        """All files on which rows depend.

        Raises:
            DataError: If a file is missing.
        """

    @abstractmethod
    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read a split in blocks; columns that are not in :meth:`columns` are dropped.

        Args:
            split: Name of the split; None for a log without splits.
        """

    def columns(self) -> pa.Schema:
        """Columns of the rows: :attr:`arrow`, unless options add some."""
        return self.arrow

    def schema(self) -> RawSchema:
        """Columns, and suggested features and tasks; no file is read."""
        return self.raw

    def rows(self, split: str | None = None) -> datasets.Dataset:
        """The rows of a split, or of all splits one after the other if ``split`` is None."""
        known = self.raw.splits
        if split is not None and split not in known:
            raise DataError(f"{self.name} has no split {split!r}", f"it has {', '.join(known)}" if known else "")
        parts: list[str | None] = [split] if split is not None else list(known) or [None]
        return datasets.concatenate_datasets([self._cached(part) for part in parts])

    def fingerprint(self) -> str:
        """Digest of the options, the stamp of every file, and the code that reads them."""
        stamps = [(str(path), stamp(path)) for path in self.files()]
        state = [stamps, self.options(), digest([file_of(type(self)), *SHARED])]
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    def options(self) -> dict[str, Any]:
        """Options on which the rows depend."""
        return {}

    def find(self, *names: str) -> Path:
        """Find the first existing file of several names, plain, gzipped or zipped.

        Args:
            names: Names of files, possibly with ``*``.

        Raises:
            DataError: If none exists.
        """
        for name in names:
            for suffix in SUFFIXES:
                matches = sorted(self.path.glob(name + suffix))
                if matches:
                    return matches[0]
        hint = "set source.path to the directory of the raw files"
        raise DataError(f"{self.name}: {self.path} has no file {' or '.join(names)}", hint)

    def side(
        self, part: str, files: Iterable[Path], columns: Mapping[str, pa.DataType], key: str, tables: Iterable[pa.Table]
    ) -> SideTable:
        """Build a side table, to which the log refers by a key; it is stored in the cache next to the log.

        Args:
            part: Name of the table.
            files: Files of the table, for messages.
            columns: Columns with their types, including the key.
            key: Name of the key.
            tables: Rows of the table, in blocks.
        """
        name = f"logs/{self.name}/{self.fingerprint()[:32]}/side-{part}"
        schema = pa.schema(list(columns.items()))
        what = ", ".join(map(str, files))
        return SideTable(name, schema, key, lambda: batches_of(tables, schema), what)

    def _cached(self, split: str | None) -> datasets.Dataset:
        name = f"logs/{self.name}/{self.fingerprint()[:32]}/{split or 'all'}"
        return cache_rows(name, self.columns(), lambda: self._batches(split))

    def _batches(self, split: str | None) -> Iterator[pa.RecordBatch]:
        return batches_of(self.tables(split), self.columns())


def batches_of(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Convert tables to record batches of a schema; other columns are dropped."""
    for table in tables:
        yield from table.select(schema.names).cast(schema).to_batches()


def append_columns(table: pa.Table, other: pa.Table) -> pa.Table:
    """Append the columns of another table with equally many rows.

    Example:
        >>> append_columns(pa.table({"a": [1]}), pa.table({"b": [2]})).to_pylist()
        [{'a': 1, 'b': 2}]
    """
    for name in other.column_names:
        table = table.append_column(name, other[name])
    return table


def declare(
    columns: Mapping[str, tuple[pa.DataType, Any]],
    tasks: Mapping[str, Any],
    *,
    after_event: tuple[str, ...] = (),
    **roles: Any,
) -> tuple[RawSchema, pa.Schema]:
    """Build the source's schema and the Arrow schema of a log.

    Args:
        columns: Type and suggested feature of each column; None for a column that is not a feature.
        tasks: Suggested tasks.
        after_event: Columns that are known only after the event.
        roles: Names of the splits, ``splits``; the columns that order rows in ``time`` and hold the user, ``group``.
    """
    raw = RawSchema(
        columns={name: str(kind) for name, (kind, _) in columns.items()},
        features={name: spec for name, (_, spec) in columns.items() if spec is not None and name not in after_event},
        tasks=dict(tasks),
        after_event=after_event,
        **roles,
    )
    return raw, pa.schema([(name, kind) for name, (kind, _) in columns.items()])
