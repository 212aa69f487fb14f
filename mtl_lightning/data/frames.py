"""Rows in memory as a source: pandas frames, Arrow tables, Datasets, mappings of columns."""

import decimal
import hashlib
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa

from mtl_lightning.data.columns import repeated_names
from mtl_lightning.data.storable import storable
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import RawSchema, Source

NUMBERS = (float, np.floating, complex, decimal.Decimal)
"""Types with a value that is unequal to itself."""


def as_table(rows: Any) -> pa.Table:
    """Rows in any usual form as an Arrow table; columns of mixed types become text.

    Raises:
        DataError: If they have no such form, columns differ in length, or two have one name.
    """
    table = _as_table(rows)
    repeated = repeated_names(table.column_names)
    if repeated:
        raise DataError(f"there are several columns called {', '.join(map(repr, repeated))}", "rename all but one")
    for name in table.column_names:
        if "\0" in name:  # Arrow cuts a schema's names there
            raise DataError(f"the column name {name!r} holds a NUL character", "rename the column")
    return pa.table({name: storable(table[name]) for name in table.column_names})


def _as_table(rows: Any) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    if isinstance(rows, datasets.Dataset):
        return rows.with_format("arrow")[:]
    if isinstance(rows, datasets.IterableDataset):
        return pa.concat_tables(rows.with_format("arrow").iter(batch_size=65_536))
    if hasattr(rows, "iloc"):
        names = [str(name) for name in rows.columns]
        return pa.table([as_array(rows.iloc[:, place], name) for place, name in enumerate(names)], names)
    if isinstance(rows, Mapping):
        columns = {str(name): as_array(values, str(name)) for name, values in rows.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name!r} {length:,}" for name, length in lengths.items())
            raise DataError(f"columns differ in length: {told}")
        return pa.table(columns)
    if isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows):
        found = dict.fromkeys(str(name) for row in rows for name in row)
        return pa.table({name: as_array([row.get(name) for row in rows], name) for name in found})
    hint = "a pandas frame, an Arrow table, a Dataset or a mapping of columns"
    raise DataError(f"rows can't be read from a {type(rows).__name__}", hint)


def as_array(values: Any, name: str) -> pa.Array:
    """One column as an Arrow array; values of mixed types as text, each as it prints, NaN as missing."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        array = pa.array(values, from_pandas=True)
        if not _of_objects(array.type):
            return array
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        pass
    return _as_text(values, name)


def _of_objects(kind: pa.DataType) -> bool:
    """True for pandas' intervals and periods, also as categories: they print better than they are stored."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name.startswith("pandas.")


def _as_text(values: Any, name: str) -> pa.Array:
    """Values without a type of their own, each as it prints; NaN is missing. Of categories, each is printed once."""
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        found = pd.Series(values).cat
        printed = pa.array([_print(one) for one in found.categories], pa.string())
        codes = pa.array(found.codes, pa.int32(), mask=found.codes.to_numpy() < 0)
        return printed.take(codes).dictionary_encode()
    plain = [None if _is_missing(one) else one for one in values]
    if any(isinstance(one, list | tuple | dict | set | np.ndarray) for one in plain):
        raise DataError(f"column {name!r} mixes lists and other values", "leave the column out, or make it text")
    printed = [None if one is None else _print(one) for one in plain]
    return pa.array(printed, pa.string())


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, NUMBERS) and bool(value != value))


def _print(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return str(int(value))
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


class Frame(Source):
    """Rows that are in memory.

    Args:
        rows: One table in any form of :func:`as_table`, or a mapping from split to such a table.

    Example:
        >>> Frame(rows={"user": [1, 2], "click": [0, 1]}).rows().num_rows
        2
    """

    def __init__(self, *, rows: Any) -> None:
        tables = isinstance(rows, Mapping) and rows and all(_is_table(one) for one in rows.values())
        self.own = {str(name): as_table(one) for name, one in rows.items()} if tables else {}
        self.table = None if tables else as_table(rows)

    def _tables(self) -> list[pa.Table]:
        return list(self.own.values()) if self.table is None else [self.table]

    def schema(self) -> RawSchema:
        """The columns."""
        columns = {field.name: str(field.type) for table in self._tables() for field in table.schema}
        return RawSchema(columns=columns, splits=tuple(self.own))

    def rows(self, split: str | None = None) -> datasets.Dataset:
        """The rows."""
        if split is not None:
            return _dataset(self.own[split])
        return _dataset(pa.concat_tables(self._tables(), promote_options="permissive"))

    def fingerprint(self) -> str:
        """Depends on every value."""
        digest = hashlib.sha256()
        for name, table in (*self.own.items(), ("", self.table)):
            if table is not None:
                digest.update(f"{name}:{table.num_rows}".encode())
                digest.update(str(table.schema).encode())
                for batch in table.combine_chunks().to_batches(max_chunksize=65_536):
                    digest.update(batch.serialize())
        return digest.hexdigest()


def _is_table(value: Any) -> bool:
    frame = hasattr(value, "iloc") and hasattr(value, "columns")
    return frame or isinstance(value, pa.Table | pa.RecordBatch | Mapping | datasets.Dataset)


def _dataset(table: pa.Table) -> datasets.Dataset:
    # Without a fingerprint of its own the library would hash the whole table.
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint="frame")
