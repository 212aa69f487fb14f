"""Parquet files as a stream of Arrow tables in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, Self

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.iterable_dataset import ArrowExamplesIterable

from mtl_lightning.data.arrow.columns import plain, repeated_names, require
from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.arrow.types import is_number, is_text, rebuild
from mtl_lightning.data.readers.disagreement import describe_disagreement
from mtl_lightning.data.readers.files import File, open_file, reading
from mtl_lightning.errors import DataError

ROWS = 131_072
"""Largest number of rows in a block."""


class Footers(NamedTuple):
    """Contents of the footers of several parquet files.

    Args:
        schema: Columns of all files, without dictionaries.
        rows: Number of rows of all files.
        folders: Values of columns that come from the names of folders, one mapping per file; may be empty.
        groups: Number of rows of each row group, by file.
    """

    schema: pa.Schema
    rows: int
    folders: tuple[Mapping[str, Any], ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()


def read_footers(paths: Sequence[str], folders: Sequence[Mapping[str, Any]] = ()) -> Footers:
    """Read the footers of parquet files, which fails for incomplete files.

    Args:
        paths: Local paths or URLs.
        folders: Values of columns that come from the names of folders, one mapping per file.

    Raises:
        DataError: If a file can't be read, has two columns of one name, or files disagree on a column's type; names the
            file.
    """
    schemas, groups = [], []
    for path in paths:
        with reading(path), _file(path) as file:
            names = file.schema_arrow.names
            groups.append(tuple(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)))
            repeated = repeated_names(names)
            if repeated:
                raise DataError(f"{path} has several columns called {', '.join(map(repr, repeated))}")
            schemas.append(_plain_schema(file.schema_arrow))
    try:
        schema = unify_schemas(schemas)
        own = set(schema.names)
        added = tuple({name: value for name, value in folder.items() if name not in own} for folder in folders)
        for name in added[0] if added else ():
            schema = schema.append(pa.field(name, pa.array([folder[name] for folder in added]).type))
        return Footers(schema, sum(map(sum, groups)), added, tuple(groups))
    except pa.ArrowException as error:
        raise DataError(*describe_disagreement(paths, schemas)) from error


def unify_schemas(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Combine the columns of all schemas; text combined with numbers or truth values is text.

    Args:
        schemas: The schemas.

    Raises:
        pa.ArrowException: If a column has incompatible types.

    Example:
        >>> unify_schemas([pa.schema({"id": pa.int64()}), pa.schema({"id": pa.string(), "x": pa.bool_()})]).types
        [DataType(string), DataType(bool)]
    """
    kinds: dict[str, list[pa.DataType]] = {}
    for field in (field for schema in schemas for field in schema):
        kinds.setdefault(field.name, []).append(field.type)
    mixed = {name for name, types in kinds.items() if len(set(types)) > 1 and _printable(types)}
    with_text = [
        pa.schema([field.with_type(pa.string()) if field.name in mixed else field for field in schema])
        for schema in schemas
    ]
    return pa.unify_schemas(with_text, promote_options="permissive")


def _printable(kinds: Sequence[pa.DataType]) -> bool:
    single = (is_text, is_number, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    return any(map(is_text, kinds)) and all(any(test(kind) for test in single) for kind in kinds)


class ParquetRows(datasets.IterableDataset):  # type: ignore[misc]
    """Rows of parquet files, with the selected columns of one row group in memory at a time.

    The reader of ``datasets`` decodes all columns, and far ahead of a slow consumer: finally the whole file.

    Args:
        paths: Local paths or URLs.
        columns: Columns to read; None for all.
        known: The files' footers, if they were read already.

    Raises:
        DataError: If a file can't be read or files disagree on a column's type; names the file.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/a.parquet"
        >>> pq.write_table(pa.table({"id": [1, 2], "x": ["a", "b"]}), path)
        >>> rows = ParquetRows([path])
        >>> rows.num_rows, list(rows.select_columns(["x"]))
        (2, [{'x': 'a'}, {'x': 'b'}])
    """

    def __init__(
        self, paths: Sequence[str], columns: Sequence[str] | None = None, known: Footers | None = None
    ) -> None:
        self.paths = list(paths)
        self.footers = read_footers(self.paths) if known is None else known
        self.num_rows = self.footers.rows
        self.arrow_schema = self._selected(columns)
        arguments: dict[str, Any] = {"paths": self.paths, "schema": self.arrow_schema}
        if self.footers.folders:  # a list as long as the paths, because the library divides both alike
            arguments["folders"] = list(self.footers.folders)
        super().__init__(
            ArrowExamplesIterable(_tables, arguments),
            info=datasets.DatasetInfo(features=_features(self.arrow_schema)),
        )

    def _selected(self, columns: Sequence[str] | None) -> pa.Schema:
        schema = self.footers.schema
        require(schema.names, columns or (), "parquet")
        return schema if columns is None else pa.schema([schema.field(name) for name in columns])

    def select_columns(self, column_names: str | list[str]) -> Self:
        """The same rows with only these columns."""
        names = [column_names] if isinstance(column_names, str) else list(column_names)
        return type(self)(self.paths, names, self.footers)

    def tables(self, columns: Sequence[str], only: tuple[int, int] | None = None) -> Iterator[pa.Table]:
        """Blocks of these columns; text keeps the dictionaries of the file.

        Args:
            columns: Columns to read.
            only: Numbers of the file and of its row group to read; None for all.
        """
        for _, table in _tables(self.paths, self._selected(columns), self.footers.folders, coded=True, only=only):
            yield table


def _features(schema: pa.Schema) -> datasets.Features | None:
    try:
        return datasets.Features.from_arrow_schema(schema)
    except ValueError:  # maps and other types that the library does not name; Arrow reads them nevertheless
        return None


@contextmanager
def _file(path: str, coded: tuple[str, ...] = ()) -> Iterator[pq.ParquetFile]:
    with ExitStack() as stack:
        stream = stack.enter_context(open_file(File(path, "", local=False))) if "://" in path else path
        file = stack.enter_context(pq.ParquetFile(stream))
        present = [name for name in coded if name in file.schema_arrow.names]
        if present:
            again = pq.ParquetFile(stream, metadata=file.metadata, read_dictionary=present)
            file = stack.enter_context(again)
        yield file


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries and views, for which Arrow has few functions (pyarrow 26), at any depth."""
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, rebuild(kind, _plain_type))


def _tables(
    paths: list[str],
    schema: pa.Schema,
    folders: Sequence[Mapping[str, Any]] = (),
    *,
    coded: bool = False,
    only: tuple[int, int] | None = None,
) -> Iterator[tuple[Any, pa.Table]]:
    text = tuple(field.name for field in schema if coded and pa.types.is_string(field.type))
    for number, path in enumerate(paths):
        if only is not None and number != only[0]:
            continue
        with reading(path), _file(path, text) as file:
            present = [name for name in schema.names if name in file.schema_arrow.names]
            for group in range(file.num_row_groups) if only is None else only[1:]:
                table = file.read_row_group(group, columns=present)
                for name, value in (folders[number] if folders else {}).items():
                    if name in schema.names and name not in present:
                        kind = schema.field(name).type
                        table = table.append_column(name, pa.repeat(pa.scalar(value, kind), table.num_rows))
                table = conform(table, schema, coded=coded)
                for start in range(0, max(table.num_rows, 1), ROWS):
                    yield (number, group, start), table.slice(start, ROWS)


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    kind = column.type
    if is_text(field.type) and (is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)):
        return pa.chunked_array([text(keys(plain(column), field.name))], pa.string())
    return column.cast(field.type)


def conform(table: pa.Table, schema: pa.Schema, *, coded: bool = False) -> pa.Table:
    """Convert a table to a schema; missing columns become null.

    Args:
        table: Any table.
        schema: Columns and types, without dictionaries.
        coded: Encode text with dictionaries; existing ones are kept.

    Example:
        >>> conform(pa.table({"id": [1]}), pa.schema({"id": pa.string(), "x": pa.int64()})).to_pylist()
        [{'id': '1', 'x': None}]
    """
    columns = {}
    for field in schema:
        text = coded and pa.types.is_string(field.type)
        if field.name not in table.column_names:
            column = pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        else:
            column = table[field.name]
        if pa.types.is_dictionary(column.type) and not (text and column.type.value_type == field.type):
            column = pa.chunked_array([plain(column)])
        if column.type != field.type and not pa.types.is_dictionary(column.type):
            column = _cast(column, field)
        if text and not pa.types.is_dictionary(column.type):  # blocks of all files must have one type
            column = column.dictionary_encode()
        columns[field.name] = column
    return pa.table(columns)
