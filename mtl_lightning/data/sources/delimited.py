"""Delimited files whose columns and types a loader declares: read block by block, with errors that name the line."""

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
from mtl_lightning.errors import DataError

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of a file.

    Args:
        columns: Columns to read, with their types. Without a header they are all columns, in order.
        separator: One character between values.
        header: Whether the first line names the columns; others than those declared are passed over.
        quoted: Whether values may stand in double quotes.
        nulls: What stands for a missing value, in columns of every type.
        encoding: Of the text.
    """

    columns: Mapping[str, pa.DataType]
    separator: str = ","
    header: bool = True
    quoted: bool = True
    nulls: tuple[str, ...] = ("",)
    encoding: str = "utf-8"


def read_blocks(path: Path, form: Form) -> Iterator[pa.RecordBatch]:
    """Rows of a plain, gzipped or zipped file, a few megabytes at a time.

    Raises:
        DataError: A column is missing, a line has too few or too many values, or a value is none of its type; file,
            line and column are named.
    """
    read = pcsv.ReadOptions(
        use_threads=False,  # with threads errors don't name the line
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
    """All rows at once, for side tables that fit memory."""
    return pa.Table.from_batches(read_blocks(path, form), schema=pa.schema(list(form.columns.items())))


def nulled(table: pa.Table, sentinels: Mapping[str, Any]) -> pa.Table:
    """The table with null where a column holds its sentinel.

    Example:
        >>> nulled(pa.table({"price": [-1.0, 3.0]}), {"price": -1}).to_pydict()
        {'price': [None, 3.0]}
    """
    for name, sentinel in sentinels.items():
        place, column = table.column_names.index(name), table[name]
        missing = pc.equal(column, pa.scalar(sentinel, column.type))
        table = table.set_column(place, name, pc.if_else(missing, pa.scalar(None, column.type), column))
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
                members = [one for one in archive.namelist() if not one.endswith("/") and "__MACOSX" not in one]
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
        raise DataError(f"{path}: {str(error).splitlines()[0]}", "is it the file that the loader expects?") from error
    except pa.ArrowInvalid as error:
        text = str(error)
        width = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", text)
        if width:
            line, wanted, got = width.groups()
            raise DataError(f"{path}: line {line} has {got} values where {wanted} are expected") from error
        value = re.search(r"column #(\d+).*?(?:Row #(\d+): )?CSV conversion error to (\S+): (.*)", text, re.DOTALL)
        if value:
            column, line, kind, reason = value.groups()
            place = f"line {line}, " if line else ""
            raise DataError(f"{path}: {place}column {int(column) + 1}: no {kind}: {reason.splitlines()[0]}") from error
        raise
