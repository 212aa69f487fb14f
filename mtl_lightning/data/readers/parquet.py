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
from mtl_lightning.data.arrow.types import is_number, is_text
from mtl_lightning.data.readers.disagreement import disagreement
from mtl_lightning.data.readers.files import File, naming, opened
from mtl_lightning.errors import DataError

ROWS = 131_072


class Footers(NamedTuple):
    """What files say of themselves at their ends.

    Args:
        schema: Columns of all files, without dictionaries.
        rows: Rows of all files.
        folders: Values of columns that a file hasn't itself, one mapping per file, or none.
    """

    schema: pa.Schema
    rows: int
    folders: tuple[Mapping[str, Any], ...] = ()


def footers(paths: Sequence[str], folders: Sequence[Mapping[str, Any]] = ()) -> Footers:
    """Read the footers of parquet files, which also shows whether the files are whole.

    Args:
        paths: Local paths or URLs.
        folders: Values of columns that stand in the names of folders, one mapping per file.

    Raises:
        DataError: If a file can't be read, has two columns of one name, or files disagree on a column's type; the
            file is named.
    """
    schemas, rows = [], 0
    for path in paths:
        with naming(path), _file(path) as file:
            names = file.schema_arrow.names
            rows += file.metadata.num_rows
            repeated = repeated_names(names)
            if repeated:
                raise DataError(f"{path} has several columns called {', '.join(map(repr, repeated))}")
            schemas.append(_plain_schema(file.schema_arrow))
    try:
        whole = unified(schemas)
        own = set(whole.names)
        told = tuple({name: value for name, value in one.items() if name not in own} for one in folders)
        for name in told[0] if told else ():
            whole = whole.append(pa.field(name, pa.array([one[name] for one in told]).type))
        return Footers(whole, rows, told)
    except pa.ArrowException as error:
        raise DataError(*disagreement(paths, schemas)) from error


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all schemas; one that is text in some and holds numbers or truth values in others is text.

    Raises:
        pa.ArrowException: If a column has types that don't go together.

    Example:
        >>> unified([pa.schema({"id": pa.int64()}), pa.schema({"id": pa.string(), "x": pa.bool_()})]).types
        [DataType(string), DataType(bool)]
    """
    kinds: dict[str, list[pa.DataType]] = {}
    for field in (field for schema in schemas for field in schema):
        kinds.setdefault(field.name, []).append(field.type)
    mixed = {name for name, found in kinds.items() if len(set(found)) > 1 and _printable(found)}
    told = [
        pa.schema([one.with_type(pa.string()) if one.name in mixed else one for one in schema]) for schema in schemas
    ]
    return pa.unify_schemas(told, promote_options="permissive")


def _printable(kinds: Sequence[pa.DataType]) -> bool:
    single = (is_text, is_number, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    return any(map(is_text, kinds)) and all(any(test(kind) for test in single) for kind in kinds)


class ParquetRows(datasets.IterableDataset):  # type: ignore[misc]
    """Rows of parquet files, one row group in memory at a time, and of it only the columns that were selected.

    The library's own reader decodes far ahead of a slow consumer (the whole file, in the end), and all columns.

    Args:
        paths: Local paths or URLs.
        columns: Columns to read; None for all.
        known: The files' footers, if they were read already.

    Raises:
        DataError: If a file can't be read or files disagree on a column's type; the file is named.

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
        self.footers = footers(self.paths) if known is None else known
        self.num_rows = self.footers.rows
        self.arrow_schema = self._selected(columns)
        arguments: dict[str, Any] = {"paths": self.paths, "schema": self.arrow_schema}
        if self.footers.folders:  # a list as long as that of the paths, for the library divides both alike
            arguments["folders"] = list(self.footers.folders)
        super().__init__(
            ArrowExamplesIterable(_tables, arguments),
            info=datasets.DatasetInfo(features=_features(self.arrow_schema)),
        )

    def _selected(self, columns: Sequence[str] | None) -> pa.Schema:
        whole = self.footers.schema
        require(whole.names, columns or (), "parquet")
        return whole if columns is None else pa.schema([whole.field(name) for name in columns])

    def select_columns(self, column_names: str | list[str]) -> Self:
        """The same rows with these columns only."""
        names = [column_names] if isinstance(column_names, str) else list(column_names)
        return type(self)(self.paths, names, self.footers)

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of the rows in blocks; text keeps the dictionaries that it has in the file."""
        for _, table in _tables(self.paths, self._selected(columns), self.footers.folders, coded=True):
            yield table


def _features(schema: pa.Schema) -> datasets.Features | None:
    try:
        return datasets.Features.from_arrow_schema(schema)
    except ValueError:  # maps and other types for which the library has no name; Arrow reads them all the same
        return None


@contextmanager
def _file(path: str, coded: tuple[str, ...] = ()) -> Iterator[pq.ParquetFile]:
    with ExitStack() as stack:
        stream = stack.enter_context(opened(File(path, "", local=False))) if "://" in path else path
        file = stack.enter_context(pq.ParquetFile(stream))
        present = [name for name in coded if name in file.schema_arrow.names]
        if present:
            again = pq.ParquetFile(stream, metadata=file.metadata, read_dictionary=present)
            file = stack.enter_context(again)
        yield file


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([_plain_field(field) for field in schema])


def _plain_field(field: pa.Field) -> pa.Field:
    """The field without dictionaries and views, for which Arrow has few functions (pyarrow 26), at any depth."""
    return field.with_type(_plain_type(field.type))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_list(kind):
        return pa.list_(_plain_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain_field(kind.key_field), _plain_field(kind.item_field), keys_sorted=kind.keys_sorted)
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)


def _tables(
    paths: list[str], schema: pa.Schema, folders: Sequence[Mapping[str, Any]] = (), *, coded: bool = False
) -> Iterator[tuple[Any, pa.Table]]:
    text = tuple(field.name for field in schema if coded and pa.types.is_string(field.type))
    for number, path in enumerate(paths):
        with naming(path), _file(path, text) as file:
            present = [name for name in schema.names if name in file.schema_arrow.names]
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=present)
                for name, one in (folders[number] if folders else {}).items():
                    if name in schema.names and name not in present:
                        kind = schema.field(name).type
                        table = table.append_column(name, pa.repeat(pa.scalar(one, kind), table.num_rows))
                table = conform(table, schema, coded=coded)
                for start in range(0, max(table.num_rows, 1), ROWS):
                    yield (number, group, start), table.slice(start, ROWS)


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    kind = column.type
    if is_text(field.type) and (is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)):
        return pa.chunked_array([text(keys(plain(column), field.name))], pa.string())
    return column.cast(field.type)


def conform(table: pa.Table, schema: pa.Schema, *, coded: bool = False) -> pa.Table:
    """The table with these columns and types; columns that it lacks are null.

    Args:
        table: Any table.
        schema: Columns without dictionaries.
        coded: Text has dictionaries, those of the table where it has some.
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
