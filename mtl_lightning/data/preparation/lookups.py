"""Side tables, such as one of items, whose columns features read by a key of the log."""

import copy
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from mtl_lightning.data.arrow.columns import WRITTEN, Block, as_written, column, first_row, require
from mtl_lightning.data.arrow.keys import as_printed, keys
from mtl_lightning.data.features.base import Feature
from mtl_lightning.data.features.vocabulary import FIRST, Vocabulary
from mtl_lightning.data.readers.blocks import ROW, read_blocks
from mtl_lightning.data.readers.frames import as_array
from mtl_lightning.data.readers.uses import Uses
from mtl_lightning.data.sources.table import Table, placed
from mtl_lightning.errors import DataError
from mtl_lightning.validation.review import Review

LOG = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
"""Names of side tables, which are also parts of file names."""
FILE = "lookup-{}.arrow"
"""File of a side table, next to the file of the transforms."""


class Lookup:
    """Rows of a side table by key, fitted when :meth:`fill` has the rows.

    Args:
        name: Name of the side table; its columns are called ``<name>.<column>``.
        on: Column of the log with the key.

    Raises:
        DataError: If the name has other characters than letters, digits and ``_``.

    Example:
        >>> items = Lookup("items", "item_id")
        >>> items.fill(pa.array(["a", "b"]), {"price": pa.array([1.5, 2.5])})
        >>> items.join(pa.table({"item_id": ["b", "c", None]}))["items.price"].to_pylist()
        [2.5, None, None]
    """

    def __init__(self, name: str, on: str) -> None:
        if not NAME.fullmatch(name):
            raise DataError(f"data.lookup: {name!r} is not a name for a table", "letters, digits and _: items")
        self.name, self.on = name, on
        self.prefix = f"{name}."
        self.asked = self.missing = 0
        """Rows of the log with a key, and the ones of them whose key the side table lacks."""
        self._content: pa.Buffer | None = None

    def owns(self, column_name: str) -> bool:
        """Return True if a column is one of the side table."""
        return column_name.startswith(self.prefix)

    def fill(self, row_keys: pa.Array, columns: Mapping[str, pa.Array]) -> None:
        """Take over the rows of the side table.

        Args:
            row_keys: Distinct keys, [N], as :func:`~mtl_lightning.data.arrow.keys.keys` returns them.
            columns: Columns by their names in the side table, [N] each; text of columns of numbers has the prefix
            :data:`~mtl_lightning.data.arrow.columns.WRITTEN`.
        """
        table = pa.table({"key": row_keys, **{f".{name}": values for name, values in columns.items()}})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        self._open(sink.getvalue())

    def _open(self, content: pa.Buffer) -> None:
        self._content = content
        self.digest = hashlib.sha256(content).hexdigest()
        table = pa.ipc.open_file(content).read_all()
        table.validate(full=True)
        if table.column_names[:1] != ["key"]:
            raise DataError(f"{FILE.format(self.name)} has no keys")
        self._vocabulary = Vocabulary(table["key"].combine_chunks())
        self._columns = {
            WRITTEN * name.startswith(f".{WRITTEN}") + self.prefix + name[1:].removeprefix(WRITTEN): column(table, name)
            for name in table.column_names[1:]
        }

    def rows(self, values: pa.Array) -> pa.Array:
        """Return the row of each key in the side table, [N] int64; null if it has none."""
        row_keys = keys(values, self.on)
        places = self._vocabulary.ids(row_keys).astype(np.int64) - FIRST
        known = len(row_keys) - row_keys.null_count
        self.asked += known
        self.missing += known - int((places >= 0).sum())
        return pa.array(places, mask=places < 0)

    def counting(self) -> Self:
        """Return the same side table with counts of its own, which start at zero."""
        again = copy.copy(self)
        again.asked = again.missing = 0
        return again

    def __copy__(self) -> Self:
        again = object.__new__(type(self))
        again.__dict__.update(self.__dict__)
        return again

    def join(self, block: Block) -> Block:
        """Append its columns to a block that has the key, but not the columns; other blocks stay as they are."""
        if self.on not in block.schema.names or self._columns.keys() <= {*block.schema.names}:
            return block
        places = self.rows(as_written(block, self.on))
        table = block if isinstance(block, pa.Table) else pa.Table.from_batches([block])
        for name, values in self._columns.items():
            table = table.append_column(name, values.take(places))
        return table

    def join_values(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Look up the keys of a request, which has lists of Python values; empty if it has no keys."""
        if self.on not in columns:
            return {}
        places = self.rows(as_array(list(columns[self.on]), self.on))
        return {name: values.take(places).to_pylist() for name, values in self._columns.items()}

    def state(self) -> dict[str, Any]:
        """Return what identifies the side table, for JSON; :meth:`save` writes its rows."""
        return {"on": self.on, "sha256": self.digest if self._content is not None else ""}

    def save(self, folder: Path) -> None:
        """Write the rows into a folder."""
        assert self._content is not None
        path = folder / FILE.format(self.name)
        partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
        with pa.OSFile(str(partial), "wb") as file:
            file.write(self._content)
        partial.replace(path)

    def load(self, folder: Path, state: Mapping[str, Any]) -> None:
        """Memory-map the rows that :meth:`save` wrote.

        Raises:
            DataError: If the file is missing or differs from the state.
        """
        path = folder / FILE.format(self.name)
        if path.is_symlink() or not path.is_file():
            raise DataError(f"{path}: no such file", "it belongs to the transforms")
        content = pa.memory_map(str(path)).read_buffer() if path.stat().st_size else pa.py_buffer(b"")
        if hashlib.sha256(content).hexdigest() != state["sha256"]:
            raise DataError(f"{path} is not the file that was saved with the transforms")
        self._open(content)

    def __getstate__(self) -> dict[str, Any]:
        content = None if self._content is None else self._content.to_pybytes()
        return {"name": self.name, "on": self.on, "content": content}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["name"], state["on"])  # type: ignore[misc]
        if state["content"] is not None:
            self._open(pa.py_buffer(state["content"]))


class LookupFiles:
    """Files of a side table.

    Args:
        name: Its name in ``data.lookup``.
        options: ``key``, ``on`` and the options of the source
            :class:`~mtl_lightning.data.sources.table.Table`, ``path`` among them.

    Raises:
        DataError: If an option is unknown or wrong.
    """

    def __init__(self, name: str, options: Any) -> None:
        self.name, self.place = name, f"data.lookup.{name}"
        if not isinstance(options, Mapping):
            raise DataError(f"{self.place}: expects a mapping, not {options!r}", "{path: items.parquet, key: item_id}")
        self.key, on = options.get("key"), options.get("on")
        if not isinstance(self.key, str) or not isinstance(on, str | None):
            option, value = ("on", on) if isinstance(self.key, str) else ("key", self.key)
            raise DataError(f"{self.place}.{option}: expects the name of a column, not {value!r}", "key: item_id")
        self.on: str = on or self.key
        Lookup(name, self.on)
        review = Review()
        given = {option: value for option, value in options.items() if option not in ("key", "on")}
        source = review.record(self.place, Table, given, owner="files", also=("key", "on"))
        review.raise_problems()
        assert isinstance(source, Table)
        if isinstance(source.path, dict):
            raise DataError(f"{self.place}.path: a side table has no splits", "list the files")
        self.source = source

    def columns(self) -> dict[str, str]:
        """Return the types of its columns by the names that features use.

        Raises:
            DataError: If a file can't be read, or has no key.
        """
        with placed(self.place):
            held = self.source.schema().columns
            require(list(held), [str(self.key)], self.place)
        return {f"{self.name}.{name}": kind for name, kind in held.items()}

    def follow(self, uses: Uses) -> None:
        """Give columns of CSV files the types that features need."""
        prefix = f"{self.name}."
        tokens, lists, numbers = (
            {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
            for names in (uses.tokens, uses.lists, uses.numbers)
        )
        tokens.add(str(self.key))
        self.source.follow(Uses(frozenset(tokens), frozenset(lists), frozenset(numbers)))

    def fingerprint(self) -> list[Any]:
        """Return what the values depend on: the content of the files, and the key."""
        with placed(self.place):
            return [self.source.fingerprint(), self.key, self.on]

    def read(self, names: Iterable[str]) -> Lookup:
        """Read the side table into memory.

        Args:
            names: Names of the columns that features use.

        Raises:
            DataError: If a column or key is missing, a key is not unique, or a column holds records.
        """
        lookup = Lookup(self.name, self.on)
        own = sorted({name.removeprefix(lookup.prefix) for name in names if lookup.owns(name)})
        require([name.removeprefix(lookup.prefix) for name in self.columns()], own, self.place)
        with placed(self.place):
            wanted = list(dict.fromkeys([str(self.key), *own]))
            blocks = [block.drop_columns([ROW]) for block in read_blocks(self.source.rows(), wanted, self.place)]
        table = pa.concat_tables(blocks) if blocks else pa.table({name: pa.nulls(0) for name in wanted})
        row_keys = keys(as_written(table, str(self.key)), str(self.key))
        self._check_keys(row_keys)
        columns = {name: as_printed(column(table, name)) for name in own}
        written = [name for name in own if WRITTEN + name in table.column_names]
        columns |= {WRITTEN + name: column(table, WRITTEN + name) for name in written}
        for name, values in columns.items():
            if pt.is_struct(values.type) or pt.is_map(values.type):
                raise DataError(f"{self.place}: column {name!r} holds {values.type}", "make a column of each value")
        lookup.fill(row_keys, columns)
        return lookup

    def _check_keys(self, row_keys: pa.Array) -> None:
        if row_keys.null_count:
            row = first_row(row_keys.is_null())
            message = f"{self.place}: the key {self.key!r} is missing in {row_keys.null_count} rows, first in row {row}"
            raise DataError(message, "remove these rows")
        counts = pc.value_counts(row_keys)
        repeated = counts.field(0).filter(pc.greater(counts.field(1), 1))
        if len(repeated):
            first = pc.is_in(row_keys, value_set=repeated)
            key = row_keys[first_row(first)]
            rows = np.flatnonzero(pc.equal(row_keys, key).to_numpy(zero_copy_only=False))[:2]
            message = f"{self.place}: the key {self.key!r} is not unique: {key.as_py()!r} is in rows {rows[0]}"
            raise DataError(f"{message} and {rows[1]}; {len(repeated)} keys are repeated", "keep one row per key")


def report_missing(lookups: Iterable[Lookup]) -> dict[str, dict[str, int]]:
    """Warn of keys that side tables lack, and return the counts.

    Args:
        lookups: Side tables whose counts cover all rows of the log.

    Returns:
        ``rows`` with a key and ``missing`` ones of them, by side table.
    """
    counts = {}
    for lookup in lookups:
        counts[lookup.name] = {"rows": lookup.asked, "missing": lookup.missing}
        if lookup.missing:
            share = lookup.missing / lookup.asked
            message = "data.lookup.%s: %d of %d rows (%.1f%%) have a key %r that the table lacks; they have no values"
            LOG.warning(message, lookup.name, lookup.missing, lookup.asked, 100 * share, lookup.on)
    return counts


def check_lookups(lookups: Mapping[str, LookupFiles], features: Mapping[str, Feature], columns: Sequence[str]) -> None:
    """Check that the columns which features read of side tables exist.

    Args:
        lookups: Side tables by name.
        features: Features by name.
        columns: Columns of the log.

    Raises:
        DataError: If a column is missing, a name has two meanings, or a file can't be read.
    """
    for name, files in lookups.items():
        if twice := next((column_name for column_name in columns if column_name.startswith(f"{name}.")), None):
            raise DataError(
                f"{files.place}: the log has a column {twice!r} as well", "give the side table another name"
            )
        held = files.columns()
        for feature, options in features.items():
            read = [own for own in options.lookup_columns(feature) if own.startswith(f"{name}.")]
            require(list(held), read, f"features.{feature}")
