"""CSV → parquet, with types that all rows of all files agree on, and errors that name file and line."""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from mtl_lightning.data.csv_types import KINDS, WHOLE, written
from mtl_lightning.data.files import File, opened
from mtl_lightning.data.keys import INTEGER
from mtl_lightning.data.numbers import MISSING
from mtl_lightning.data.uses import Uses
from mtl_lightning.errors import DataError

BLOCK = 8 << 20
EXACT = 1 << 53
"""Up to here a float64 holds every integer."""
INFINITE = r"^[+-]?inf(inity)?$"
SEPARATORS = ("\t", ";", "|", ",")
"""What else may stand between values, if a header looks like one name."""


@dataclass(frozen=True)
class CsvOptions:
    """How CSV files are written.

    Args:
        separator: Between values.
        names: Names of the columns where files have no header, else None.
        encoding: Of the text.
        text: Columns that are text, whatever they hold.
    """

    separator: str = ","
    names: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    text: tuple[str, ...] = ()


def convert(
    files: Sequence[File],
    options: CsvOptions,
    directory: Path,
    kinds: Mapping[str, str] | None = None,
    uses: Uses | None = None,
) -> None:
    """Write one parquet file per CSV file.

    Args:
        files: The CSV files.
        options: How they are written.
        directory: Where parquet goes.
        kinds: What :func:`infer` gave, or None.
        uses: What reads the columns; see :func:`mtl_lightning.data.csv_types.written`.

    Raises:
        DataError: Naming the file, and the line where there is one.
    """
    columns = written(infer(files, options) if kinds is None else kinds, uses or Uses())
    schema = pa.schema([(one.name, one.kind) for one in columns])
    for number, file in enumerate(files):
        with pq.ParquetWriter(directory / f"{number:05d}.parquet", schema, compression="zstd") as writer:
            for block in _blocks(file, options):
                arrays = [one.cast(block.column(one.column)) for one in columns]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def infer(files: Sequence[File], options: CsvOptions) -> dict[str, str]:
    """Which of :data:`~mtl_lightning.data.csv_types.KINDS` each column is, over all rows of all files.

    A column holds integers if every value of every file prints as one (007 doesn't), else whole numbers, else numbers
    (unless there are integers among them that a float would change, or numbers that are too large for one), else truth
    values, else text.
    """
    candidates: dict[str, list[str]] = {}
    first, late, seen = "", set[str](), 0
    for file in files:
        names: list[str] | None = None
        for block in _blocks(file, options):
            if names is None:
                names = block.schema.names
                if not candidates:
                    candidates = {name: [] if name in options.text else list(KINDS)[:-1] for name in names}
                    first = file.path
                elif set(names) != set(candidates):
                    odd = ", ".join(map(repr, sorted(set(names) ^ set(candidates))))
                    raise DataError(f"{file.path} and {first} have different columns: {odd}")
            narrowed = {name for name, left in candidates.items() if _narrow(left, block.column(name))}
            late |= narrowed if seen else set()
            seen += 1
    if not candidates:
        raise DataError(f"{', '.join(file.path for file in files)}: no rows below the header")
    while late := {name for name in late if candidates[name]}:  # earlier rows haven't been held against what is left
        blocks = (block for file in files for block in _blocks(file, options))
        late = {name for block in blocks for name in late if _narrow(candidates[name], block.column(name))}
    return {name: left[0] if left else "text" for name, left in candidates.items()}


def _narrow(kinds: list[str], column: pa.Array) -> bool:
    """Drop kinds until one fits; whether any was dropped."""
    before = len(kinds)
    while kinds and not _fits(column, kinds[0]):
        kinds.pop(0)
    return len(kinds) < before


def _values(column: pa.Array, missing: list[str]) -> pa.Array:
    return pc.if_else(pc.is_in(column, value_set=pa.array(missing)), pa.scalar(None, pa.string()), column)


def _fits(column: pa.Array, kind: str) -> bool:
    values = _values(column, MISSING)
    try:
        if kind == "integer":
            whole = pc.all(pc.match_substring_regex(values, INTEGER)).as_py()
            pc.cast(values if whole is not False else values.slice(0, 0), pa.int64())
            return whole is not False
        if kind == "whole":
            return pc.all(pc.match_substring_regex(values, WHOLE)).as_py() is not False
        if kind == "number" and pc.any(pc.match_substring_regex(values, r"^[+-]?0[0-9]")).as_py():
            return False  # codes with leading zeros
        if kind == "number" and _large(values):
            return False  # ids that a float would change
        typed = pc.cast(values, KINDS[kind])
    except pa.ArrowException:
        return False
    return kind != "number" or not _overflows(values, typed)


def _large(values: pa.Array) -> bool:
    """Whether there are integers beyond those that a float tells apart."""
    long = pc.filter(values, pc.match_substring_regex(values, r"^[+-]?[0-9]{16,}$"))
    if pc.any(pc.greater(pc.utf8_length(long), 18)).as_py():
        return True
    return bool(pc.any(pc.greater(pc.abs(pc.cast(pc.utf8_ltrim(long, "+"), pa.int64())), EXACT)).as_py())


def _overflows(values: pa.Array, numbers: pa.Array) -> bool:
    """Whether a number is infinite that is not written so: 25e83726 is an id."""
    infinite = pc.filter(values, pc.is_inf(numbers))
    return pc.all(pc.match_substring_regex(infinite, INFINITE, ignore_case=True)).as_py() is False


@contextmanager
def _located(file: File) -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as error:
        with opened(file) as stream:
            mark = stream.read(2)
        if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{file.path} is UTF-16", "set source.encoding=utf-16") from error
        found = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error))
        if found:
            line, wanted, got = found.groups()
            raise DataError(
                f"{file.path}: line {line} has {got} values where {wanted} are expected",
                "look at the line; set source.separator if it is not the right one",
            ) from error
        if "straddling" in str(error):
            limit = f"{file.path} has a row of more than {BLOCK >> 20} MiB"
            raise DataError(limit, "look for a quote that is opened and not closed") from error
        if "Empty CSV" in str(error):
            raise DataError(f"{file.path} is empty") from error
        raise


def _blocks(file: File, options: CsvOptions) -> Iterator[pa.RecordBatch]:
    """Blocks of text columns."""
    read = pcsv.ReadOptions(
        use_threads=False,  # with threads errors don't name the line
        block_size=BLOCK,
        column_names=list(options.names) if options.names else None,
        encoding=options.encoding,
    )
    parse = pcsv.ParseOptions(delimiter=options.separator, newlines_in_values=True)
    header = pcsv.ConvertOptions()
    with opened(file) as stream, _located(file), pcsv.open_csv(stream, read, parse, header) as reader:
        names = reader.schema.names
    others = [one for one in SEPARATORS if one in names[0] and one != options.separator]
    if len(names) == 1 and others and not options.names:
        shown = r'"\t"' if others[0] == "\t" else others[0]
        raise DataError(f"{file.path}: the header is one column, {names[0]!r}", f"set source.separator={shown}")
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise DataError(f"{file.path} has several columns called {', '.join(map(repr, sorted(repeated)))}")
    plain = pcsv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False)
    line = 1 if options.names else 2
    with opened(file) as stream, _located(file), pcsv.open_csv(stream, read, parse, plain) as reader:
        for block in reader:
            yield _decoded(block, file, line)
            line += block.num_rows


def _decoded(block: pa.RecordBatch, file: File, line: int) -> pa.RecordBatch:
    columns = []
    for name, column in zip(block.schema.names, block.columns, strict=True):
        try:
            columns.append(pc.cast(column, pa.string()))
        except pa.ArrowInvalid as error:
            for index, value in enumerate(column.to_pylist()):  # only to name the line, once, before giving up
                try:
                    value.decode("utf-8")
                except UnicodeDecodeError:
                    raise DataError(
                        f"{file.path}: line {line + index}, column {name!r}: the text is not UTF-8: {value[:40]!r}",
                        "set source.encoding, such as latin-1",
                    ) from error
            raise
    return pa.RecordBatch.from_arrays(columns, names=block.schema.names)
