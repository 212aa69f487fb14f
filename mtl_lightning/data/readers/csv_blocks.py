"""CSV files in blocks of whole rows, as text; errors name file and line."""

import codecs
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from mtl_lightning.data.readers.csv_header import read_header
from mtl_lightning.data.readers.csv_options import CsvOptions
from mtl_lightning.data.readers.files import MARK, File, open_file
from mtl_lightning.data.readers.quotes import Quoted, QuoteError, find_quoted, find_row_starts, find_rows_end
from mtl_lightning.errors import DataError

BLOCK = 8 << 20
"""Number of bytes read at a time, and the length limit of a row."""


class Rows(NamedTuple):
    """Complete rows of a file.

    Args:
        file: The file.
        data: The rows, in UTF-8 unless the file is damaged.
        line: Number of the first line.
        quoted: Values in quotes.
    """

    file: File
    data: bytes
    line: int
    quoted: Quoted

    def line_at(self, offset: int) -> int:
        """Number of the line that contains a byte."""
        return self.line + _count_lines(self.data[:offset])

    def line_of(self, row: int) -> int:
        """Number of the line in which a row begins."""
        return self.line_at(int(find_row_starts(self.data, self.quoted)[row]))


def read_csv_blocks(file: File, options: CsvOptions) -> Iterator[pa.RecordBatch]:
    """Read a CSV file in blocks of text columns.

    The first block has names and no rows. A file without any line gives no block.

    Args:
        file: The file.
        options: Format of the file.

    Raises:
        DataError: If the file can't be read; names the file and, if known, the line.
    """
    names = options.names
    for rows in read_rows(file, options):
        block = rows
        if names is None:
            starts = find_row_starts(rows.data, rows.quoted)
            if not len(starts):
                continue
            end = int(starts[1]) if len(starts) > 1 else len(rows.data)
            names = read_header(rows.data[:end], options, f"{file.path}: line {rows.line_of(0)}", file.path)
            block = _from(rows, end, options)
            yield pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in names]))
        if block.data[:2].strip(b"\r\n") or block.data.strip(b"\r\n"):
            yield _decoded(_parsed(block, options, names), block)


def read_rows(file: File, options: CsvOptions) -> Iterator[Rows]:
    """Read a file in blocks of complete rows.

    Args:
        file: The file.
        options: Format of the file.

    Raises:
        DataError: If a row is longer than a block, the text can't be decoded, or a quoted value doesn't end where it
            should.
    """
    line, rest = 1, b""
    with open_file(file) as stream:
        for data in _texts(stream, file, options):
            text = rest + data
            quoted = _quoted(Rows(file, text, line, find_quoted(b"", options)), options)
            end = find_rows_end(text, quoted) if data else len(text)
            if not data and quoted.open is not None:
                raise _unclosed(Rows(file, text, line, quoted), "the file ends within it")
            if not data and _ends_in_escape(text, options):
                line += _count_lines(text)
                hint = "check that the file is complete"
                raise DataError(f"{file.path}: line {line}: the file ends after source.escape", hint)
            if not end and len(text) > BLOCK:
                raise _too_long(Rows(file, text, line, quoted))
            if end:
                whole = text[:end]
                yield Rows(file, whole, line, quoted)
                line += _count_lines(whole)
            rest = text[end:]


def _texts(stream: Any, file: File, options: CsvOptions) -> Iterator[bytes]:
    """The text in UTF-8, piece by piece; the last piece is empty."""
    decoder = None if options.utf8 else codecs.getincrementaldecoder(options.encoding)()
    first, decoded = True, 0
    while True:
        data = stream.read(BLOCK)
        if first and options.utf8 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{file.path} is UTF-16", "set source.encoding=utf-16")
        if decoder is None:
            text = data
        else:
            try:
                text = decoder.decode(data, final=not data).encode()
            except UnicodeError as error:
                raise _undecodable(file, options, decoded + 1, error) from error
            decoded += _count_lines(text)
        text = text.removeprefix(MARK) if first else text
        first = False
        if text or not data:
            yield text
        if not data:
            if text:
                yield b""
            return


def _undecodable(file: File, options: CsvOptions, line: int, error: UnicodeError) -> DataError:
    if isinstance(error, UnicodeDecodeError):
        line += _count_lines(error.object[: error.start].decode(options.encoding, "ignore").encode())
    return DataError(f"{file.path}: line {line}: the text is not {options.encoding}: {error}", "set source.encoding")


def _quoted(rows: Rows, options: CsvOptions) -> Quoted:
    try:
        return find_quoted(rows.data, options)
    except QuoteError as error:
        start, end = rows.line_at(error.start), rows.line_at(error.end or error.start)
        place = f"line {end}" if start == end else f"line {end}: a quoted value that begins in line {start}"
        shown = rows.data[error.end or 0 :][:20].split(b"\n")[0].decode(errors="replace")
        message = "text follows a closing quote" if start == end else "is followed by text"
        raise DataError(
            f"{rows.file.path}: {place}{': ' if start == end else ' '}{message}: {shown!r}",
            _quote_hint(options),
        ) from error


def _quote_hint(options: CsvOptions) -> str:
    escape = "" if options.escape else ", source.escape='\\' if it is written as \\" + str(options.quote)
    return f"source.quote=null if {options.quote} is an ordinary character{escape}"


def _unclosed(rows: Rows, reason: str) -> DataError:
    line = rows.line_at(rows.quoted.open or 0)
    hint = "look for an unclosed quote; source.quote=null if quotes are ordinary characters"
    return DataError(f"{rows.file.path}: line {line}: a quoted value begins and {reason}", hint)


def _too_long(rows: Rows) -> DataError:
    if rows.quoted.open is not None:
        return _unclosed(rows, f"does not end within {BLOCK >> 20} MiB")
    message = f"{rows.file.path}: line {rows.line} is a row of more than {BLOCK >> 20} MiB"
    return DataError(message, "check that the file consists of lines")


def _ends_in_escape(text: bytes, options: CsvOptions) -> bool:
    escapes = len(text) - len(text.rstrip(options.escape.encode())) if options.escape else 0
    return escapes % 2 == 1


def _from(rows: Rows, offset: int, options: CsvOptions) -> Rows:
    """The rows that start at an offset."""
    data = rows.data[offset:]
    return Rows(rows.file, data, rows.line_at(offset), find_quoted(data, options))


def _parsed(rows: Rows, options: CsvOptions, names: tuple[str, ...]) -> pa.RecordBatch:
    read = pcsv.ReadOptions(use_threads=False, block_size=len(rows.data) + 1, column_names=list(names))
    parse = pcsv.ParseOptions(
        delimiter=options.separator,
        quote_char=options.quote or False,
        escape_char=options.escape or False,
        newlines_in_values=options.quote is not None or options.escape is not None,
    )
    convert = pcsv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False)
    try:
        return pcsv.read_csv(pa.BufferReader(rows.data), read, parse, convert)
    except pa.ArrowInvalid as error:
        width = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
        if not width:
            raise
        row, wanted, got = map(int, width.groups())
        raise DataError(
            f"{rows.file.path}: line {rows.line_of(row - 1)} has {got} values where {wanted} are expected",
            "look at the line; set source.separator if values are separated otherwise",
        ) from error


def _decoded(table: pa.Table, rows: Rows) -> pa.RecordBatch:
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.chunk(0)
        try:
            columns.append(pc.cast(values, pa.string()))
        except pa.ArrowInvalid as error:
            for index, value in enumerate(values.to_pylist()):  # slow, but only on the way to an error
                try:
                    value.decode("utf-8")
                except UnicodeDecodeError:
                    place = f"{rows.file.path}: line {rows.line_of(index)}, column {name!r}"
                    hint = "set source.encoding, such as latin-1"
                    raise DataError(f"{place}: the text is not UTF-8: {value[:40]!r}", hint) from error
            raise
    return pa.RecordBatch.from_arrays(columns, names=table.column_names)


def _count_lines(data: bytes) -> int:
    """Number of line feeds, or of carriage returns if there are no line feeds."""
    return data.count(b"\n") or data.count(b"\r")
