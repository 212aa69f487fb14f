"""Source of rows in memory: pandas frames, Arrow tables, Datasets, mappings of columns."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from mtl_lightning.data.arrow.columns import plain, repeated_names
from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.mixed_types import mixed_to_text, print_value, remove_tensors
from mtl_lightning.data.arrow.storage_types import to_storable
from mtl_lightning.data.arrow.types import is_text
from mtl_lightning.data.readers.parquet import unify_schemas
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import RawSchema, Source


def as_table(rows: Any) -> pa.Table:
    """Convert rows in any usual form to an Arrow table; columns of mixed types become text.

    Args:
        rows: A pandas frame, an Arrow table or batch, a Dataset, a mapping of columns or a list of mappings.

    Raises:
        DataError: If the form is another one, columns differ in length, or two columns have one name.

    Example:
        >>> as_table([{"user": 1, "click": True}, {"user": "a", "click": False}]).to_pylist()
        [{'user': '1', 'click': True}, {'user': 'a', 'click': False}]
    """
    table = _as_table(rows)
    repeated = repeated_names(table.column_names)
    if repeated:
        raise DataError(f"there are several columns called {', '.join(map(repr, repeated))}", "rename all but one")
    for name in table.column_names:
        if "\0" in name:  # Arrow truncates names in a schema at NUL
            raise DataError(f"the column name {name!r} holds a NUL character", "rename the column")
    return pa.table({name: to_storable(table[name]) for name in table.column_names})


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
            listed = ", ".join(f"{name!r} {length:,}" for name, length in lengths.items())
            raise DataError(f"columns differ in length: {listed}")
        return pa.table(columns)
    if isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(str(name) for row in rows for name in row))
        return pa.table({name: as_array([row.get(name) for row in rows], name) for name in names})
    hint = "a pandas frame, an Arrow table, a Dataset or a mapping of columns"
    raise DataError(f"rows can't be read from a {type(rows).__name__}", hint)


def as_array(values: Any, name: str) -> pa.Array:
    """Convert a column to an Arrow array; NaN is missing, values of mixed types become text.

    Args:
        values: A value per row.
        name: Name of the column, for messages.

    Raises:
        DataError: If there is only a single value, or lists and objects can't be combined with other values.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if (array := _converted(values)) is not None:
        return array
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        return _printed_categories(values)
    bare = remove_tensors(values)
    if (array := _converted(bare)) is not None:
        return array
    if not isinstance(bare, Iterable):
        raise DataError(f"column {name!r} is a single value, {bare!r}", "a value per row is needed")
    return mixed_to_text(bare, name)


def _converted(values: Any) -> pa.Array | None:
    """Array of the values; None if they have no type, or one of pandas' own."""
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None
    return None if _of_objects(array.type) else array


def _of_objects(kind: pa.DataType) -> bool:
    """True for pandas' intervals and periods, also as categories: their text is clearer than their storage."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name.startswith("pandas.")


def _printed_categories(values: Any) -> pa.Array:
    """Text of categories that have no Arrow type; each category is printed once."""
    categories = pd.Series(values).cat
    words = pa.array([print_value(category) for category in categories.categories], pa.string())
    codes = pa.array(categories.codes, pa.int32(), mask=categories.codes.to_numpy() < 0)
    return words.take(codes).dictionary_encode()


class Frame(Source):
    """Source of rows in memory.

    Args:
        rows: A table in any form of :func:`as_table`, or a mapping from split to such tables.

    Raises:
        DataError: If the rows have no such form.

    Example:
        >>> Frame(rows={"user": [1, 2], "click": [0, 1]}).rows().num_rows
        2
    """

    def __init__(self, *, rows: Any) -> None:
        by_split = isinstance(rows, Mapping) and rows and all(_is_table(table) for table in rows.values())
        self.own = {str(name): as_table(table) for name, table in rows.items()} if by_split else {}
        self.table = None if by_split else as_table(rows)

    def _tables(self) -> list[pa.Table]:
        return list(self.own.values()) if self.table is None else [self.table]

    def schema(self) -> RawSchema:
        """The columns of all tables, and the splits."""
        columns = {field.name: str(field.type) for table in self._tables() for field in table.schema}
        return RawSchema(columns=columns, splits=tuple(self.own))

    def rows(self, split: str | None = None) -> datasets.Dataset:
        """The rows of a split, or of all splits if ``split`` is None."""
        if split is not None:
            return _dataset(self.own[split])
        tables = self._tables()
        if len(tables) > 1:
            schema = unify_schemas([table.schema for table in tables])
            text_columns = {field.name for field in schema if pt.is_string(field.type)}
            tables = [_as_text(table, text_columns) for table in tables]
        return _dataset(pa.concat_tables(tables, promote_options="permissive"))

    def fingerprint(self) -> str:
        """Digest of every value."""
        digest = hashlib.sha256()
        for name, table in (*self.own.items(), ("", self.table)):
            if table is not None:
                digest.update(f"{name}:{table.num_rows}".encode())
                digest.update(str(table.schema).encode())
                for batch in table.combine_chunks().to_batches(max_chunksize=65_536):
                    digest.update(batch.serialize())
        return digest.hexdigest()


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    """The table with these columns as text."""
    for place, field in enumerate(table.schema):
        if field.name in names and not is_text(field.type) and not pt.is_dictionary(field.type):
            table = table.set_column(place, field.name, text(keys(plain(table[field.name]), field.name)))
    return table


def _is_table(value: Any) -> bool:
    frame = hasattr(value, "iloc") and hasattr(value, "columns")
    return frame or isinstance(value, pa.Table | pa.RecordBatch | Mapping | datasets.Dataset)


def _dataset(table: pa.Table) -> datasets.Dataset:
    # Without a given fingerprint the library would hash the whole table.
    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint="frame")
