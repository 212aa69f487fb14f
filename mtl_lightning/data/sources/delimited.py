"""Reader of delimited files with declared columns and types, block by block; errors name the line."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from mtl_lightning.data.readers.files import File, open_file, reading
from mtl_lightning.data.sources.join import replace_column
from mtl_lightning.errors import DataError

BLOCK_BYTES = 8 << 20
"""Number of bytes read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Format of a delimited file.

    Args:
        columns: Columns to read, with their types. Without a header these must be all columns, in order.
        separator: Character between values.
        header: The first line has the names of the columns; undeclared columns are ignored.
        quoted: Values may be in double quotes.
        nulls: Spellings of a missing value, in columns of every type.
        encoding: Encoding of the text.
    """

    columns: Mapping[str, pa.DataType]
    separator: str = ","
    header: bool = True
    quoted: bool = True
    nulls: tuple[str, ...] = ("",)
    encoding: str = "utf-8"


def read_blocks(path: Path, form: Form) -> Iterator[pa.RecordBatch]:
    """Read a plain, gzipped or zipped file, a few megabytes at a time.

    Args:
        path: The file.
        form: Format of the file.

    Raises:
        DataError: If a column is missing, a line has a wrong number of values, or a value does not fit its type. The
            message names the file, the line and the column.
    """
    read = pcsv.ReadOptions(
        use_threads=False,  # with threads, Arrow's errors don't name the line
        block_size=BLOCK_BYTES,
        column_names=None if form.header else list(form.columns),
        encoding=form.encoding,
    )
    parse = pcsv.ParseOptions(delimiter=form.separator, quote_char='"' if form.quoted else False)
    convert = pcsv.ConvertOptions(
        column_types=dict(form.columns),
        include_columns=list(form.columns),
        null_values=list(form.nulls),
        strings_can_be_null=True,
    )
    if path.suffix != ".zip" and path.exists() and not path.stat().st_size:
        raise DataError(f"{path} is empty")
    with _stream(path) as stream, _located(path), pcsv.open_csv(stream, read, parse, convert) as reader:
        yield from reader


def read_table(path: Path, form: Form) -> pa.Table:
    """Read all rows of a file as :func:`read_blocks` does, for side tables that fit into memory.

    Args:
        path: The file.
        form: Format of the file.

    Raises:
        DataError: As :func:`read_blocks`.
    """
    return pa.Table.from_batches(read_blocks(path, form), schema=pa.schema(list(form.columns.items())))


def read_tables(path: Path, form: Form) -> Iterator[pa.Table]:
    """Blocks of a file as tables, with the arguments and errors of :func:`read_blocks`."""
    return (pa.Table.from_batches([batch]) for batch in read_blocks(path, form))


def replace_sentinels(table: pa.Table, sentinels: Mapping[str, Any]) -> pa.Table:
    """Replace the values that mean a missing value by null.

    Args:
        table: Any table.
        sentinels: Value used for a missing one, by column.

    Example:
        >>> replace_sentinels(pa.table({"price": [-1.0, 3.0]}), {"price": -1}).to_pydict()
        {'price': [None, 3.0]}
    """
    for name, sentinel in sentinels.items():
        column = table[name]
        missing = pc.equal(column, pa.scalar(sentinel, column.type))
        table = replace_column(table, name, pc.if_else(missing, pa.scalar(None, column.type), column))
    return table


@contextmanager
def _stream(path: Path) -> Iterator[Any]:
    if path.suffix != ".zip":
        with open_file(File(str(path), "", local=True)) as stream:
            yield stream
        return
    with reading(str(path)):
        try:
            with zipfile.ZipFile(path) as archive:
                members = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
                if len(members) != 1:
                    raise DataError(f"{path} holds {len(members)} files where one is expected")
                with archive.open(members[0]) as stream:
                    yield stream
        except zipfile.BadZipFile as error:
            raise DataError(f"{path} can't be read: {error}") from error


@contextmanager
def _located(path: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowKeyError as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}", "check that it is the right file") from error
    except pa.ArrowInvalid as error:
        text = str(error)
        width = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", text)
        if width:
            line, expected, got = width.groups()
            raise DataError(f"{path}: line {line} has {got} values where {expected} are expected") from error
        value = re.search(r"column #(\d+).*?(?:Row #(\d+): )?CSV conversion error to (\S+): (.*)", text, re.DOTALL)
        if value:
            column, line, kind, reason = value.groups()
            place = f"{path}: line {line}, " if line else f"{path}: "
            raise DataError(f"{place}column {int(column) + 1}: not {kind}: {reason.splitlines()[0]}") from error
        raise
