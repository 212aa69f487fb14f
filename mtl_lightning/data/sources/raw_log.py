"""What loaders of public logs have in common: a directory of raw files in, blocks of declared columns out."""

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
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import RawSchema, Source

ENDINGS = ("", ".gz", ".zip")
HERE = Path(__file__).parent
SHARED = [
    HERE / f"{name}.py" for name in ("raw_log", "delimited", "joined", "multivalued", "side_table", "../arrow/lists")
]
"""Code that loaders share, besides their own file."""


class RawLog(Source):
    """A public log, from the files as they are downloaded. They are read once, in bounded memory, into the cache.

    A subclass gives :attr:`name`, :attr:`raw` and :attr:`arrow`, names its :meth:`files` and reads :meth:`tables`.

    Args:
        path: Directory of the raw files.
    """

    name: ClassVar[str]
    raw: RawSchema
    arrow: pa.Schema

    def __init__(self, *, path: str) -> None:
        self.path = expand_user(path)

    @abstractmethod
    def files(self) -> list[Path]:
        """All files that rows depend on; DataError if one is missing."""

    @abstractmethod
    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """The rows of one split, or of a log without splits (None), in blocks; :attr:`arrow` picks their columns."""

    def written(self) -> pa.Schema:
        """Columns that rows have; :attr:`arrow` unless options add to it."""
        return self.arrow

    def schema(self) -> RawSchema:
        """Columns and suggestions; nothing is read."""
        return self.raw

    def rows(self, split: str | None = None) -> datasets.Dataset:
        """Rows of a split, or of all splits one after the other."""
        known = self.raw.splits
        if split is not None and split not in known:
            raise DataError(f"{self.name} has no split {split!r}", f"it has {', '.join(known)}" if known else "")
        parts: list[str | None] = [split] if split is not None else list(known) or [None]
        return datasets.concatenate_datasets([self._kept(part) for part in parts])

    def fingerprint(self) -> str:
        """Depends on the options, on every file's :func:`stamp`, and on the code that reads them."""
        stamps = [(str(one), stamp(one)) for one in self.files()]
        state = [stamps, self.options(), digest([file_of(type(self)), *SHARED])]
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    def options(self) -> dict[str, Any]:
        """Options on which rows depend, besides the files."""
        return {}

    def find(self, *names: str) -> Path:
        """The first of these files that is there, plain, gzipped or zipped; ``*`` matches anything.

        Raises:
            DataError: None is there.
        """
        for name in names:
            for ending in ENDINGS:
                found = sorted(self.path.glob(name + ending))
                if found:
                    return found[0]
        hint = "set source.path to the directory of the raw files"
        raise DataError(f"{self.name}: {self.path} has no file {' or '.join(names)}", hint)

    def side(
        self, part: str, files: Iterable[Path], columns: Mapping[str, pa.DataType], key: str, tables: Iterable[pa.Table]
    ) -> SideTable:
        """A table that the log refers to by ``key``, kept beside the log."""
        name = f"logs/{self.name}/{self.fingerprint()[:32]}/side-{part}"
        schema = pa.schema(list(columns.items()))
        what = ", ".join(map(str, files))
        return SideTable(name, schema, key, lambda: batches_of(tables, schema), what)

    def _kept(self, split: str | None) -> datasets.Dataset:
        name = f"logs/{self.name}/{self.fingerprint()[:32]}/{split or 'all'}"
        return cache_rows(name, self.written(), lambda: self._batches(split))

    def _batches(self, split: str | None) -> Iterator[pa.RecordBatch]:
        return batches_of(self.tables(split), self.written())


def batches_of(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Record batches with exactly these columns and types."""
    for table in tables:
        yield from table.select(schema.names).cast(schema).to_batches()


def beside(table: pa.Table, other: pa.Table) -> pa.Table:
    """Two tables with equally many rows, side by side."""
    for name in other.column_names:
        table = table.append_column(name, other[name])
    return table


def declare(
    columns: Mapping[str, tuple[pa.DataType, Any]],
    tasks: Mapping[str, Any],
    *,
    splits: tuple[str, ...] = (),
    time: str | None = None,
    group: str | None = None,
    after_event: tuple[str, ...] = (),
) -> tuple[RawSchema, pa.Schema]:
    """Both schemas of a log from one table of columns: type, and what a recipe says of it (None: no feature)."""
    raw = RawSchema(
        columns={name: str(kind) for name, (kind, _) in columns.items()},
        features={name: spec for name, (_, spec) in columns.items() if spec is not None and name not in after_event},
        tasks=dict(tasks),
        splits=splits,
        time=time,
        group=group,
        after_event=after_event,
    )
    return raw, pa.schema([(name, kind) for name, (kind, _) in columns.items()])
