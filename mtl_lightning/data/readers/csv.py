"""Conversion of CSV to parquet; types fit all rows of all files, errors name file and line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mtl_lightning.data.arrow.columns import WRITTEN
from mtl_lightning.data.arrow.keys import INTEGER
from mtl_lightning.data.arrow.numbers import MISSING
from mtl_lightning.data.readers.csv_blocks import read_csv_blocks
from mtl_lightning.data.readers.csv_options import CsvOptions
from mtl_lightning.data.readers.csv_types import KINDS, WHOLE, ParquetColumn, plan_columns
from mtl_lightning.data.readers.files import EmptyFilesError, File, check_empty
from mtl_lightning.data.readers.uses import Uses
from mtl_lightning.errors import DataError

EXACT = 1 << 53
"""Largest integer up to which float64 represents every integer."""
INFINITE = r"^[+-]?inf(inity)?$"
"""Spellings of infinity."""
SAMPLE = 100
"""Number of values tried before a whole block: a cast that fails at every value is slow in Arrow."""


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
        options: Format of the files.
        directory: Directory of the parquet files.
        kinds: Result of :func:`infer`; None to infer them here.
        uses: Uses of the columns; see :func:`mtl_lightning.data.readers.csv_types.plan_columns`.

    Raises:
        DataError: If a file can't be read; names the file and, if known, the line.
    """
    uses = uses or Uses()
    columns = plan_columns(infer(files, options) if kinds is None else kinds, uses)
    schema = pa.schema([(target.name, target.kind) for target in columns])
    for number, file in enumerate(files):
        with pq.ParquetWriter(directory / f"{number:05d}.parquet", schema, compression="zstd") as writer:
            for block in read_csv_blocks(file, options):
                if not block.num_rows:
                    continue
                arrays = [target.cast(_cells(block, target, options, uses)) for target in columns]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def infer(files: Sequence[File], options: CsvOptions) -> dict[str, str]:
    """Infer the kind of each column, one of :data:`~mtl_lightning.data.readers.csv_types.KINDS`, from all rows.

    The first kind that fits every value of every file counts, in this order:

    - integers: values print as they are written, which 007 does not;
    - whole numbers;
    - numbers, unless a float would change an integer among them or overflow;
    - truth values;
    - text.

    Args:
        files: The CSV files.
        options: Format of the files.

    Raises:
        DataError: If a file can't be read or files have different columns.
        EmptyFilesError: If no file has a row.
    """
    candidates: dict[str, list[str]] = {}
    first, rows, late = "", 0, set[str]()
    empty: list[File] = []
    for file in files:
        names: list[str] | None = None
        for block in read_csv_blocks(file, options):
            if names is None:
                names = block.schema.names
                if not candidates:
                    candidates = {name: [] if name in options.text else list(KINDS)[:-1] for name in names}
                    first = file.path
                elif set(names) != set(candidates):
                    odd = ", ".join(map(repr, sorted(set(names) ^ set(candidates))))
                    raise DataError(f"{file.path} and {first} have different columns: {odd}")
            narrowed = {name for name, left in candidates.items() if _narrow(left, _readable(block, name, options))}
            late |= narrowed if rows else set()
            rows += block.num_rows
        empty += [file] if names is None else []
    if candidates and not rows:
        raise EmptyFilesError(f"{', '.join(file.path for file in files)}: no rows below the header")
    check_empty(files, empty)
    while late := {name for name in late if candidates[name]}:  # earlier rows were not checked against these kinds
        blocks = (block for file in files for block in read_csv_blocks(file, options))
        late = {n for block in blocks for n in late if _narrow(candidates[n], _readable(block, n, options))}
    return {name: left[0] if left else "text" for name, left in candidates.items()}


def _narrow(kinds: list[str], column: pa.Array) -> bool:
    """Drop kinds until the first one fits; True if any was dropped."""
    before = len(kinds)
    if before and len(column):
        values = _values(column, MISSING)
        sample = values[:SAMPLE]
        while kinds and not (_fits(sample, kinds[0]) and _fits(values, kinds[0])):
            kinds.pop(0)
    return len(kinds) < before


def _readable(block: pa.RecordBatch, name: str, options: CsvOptions) -> pa.Array:
    """A column with nulls for the source's own spellings of a missing value, and plain numbers unless it is text."""
    column = _present(block.column(name), options)
    return column if name in options.text else options.numbers.plain(column)


def _present(column: pa.Array, options: CsvOptions) -> pa.Array:
    return _values(column, list(options.missing)) if options.missing else column


def _cells(block: pa.RecordBatch, target: ParquetColumn, options: CsvOptions, uses: Uses) -> pa.Array:
    """Cells of a parquet column: unchanged if they are read as written, otherwise with plain numbers."""
    as_written = target.name.startswith(WRITTEN) or (
        pa.types.is_string(target.kind) and target.column in uses.tokens | uses.lists
    )
    return _present(block.column(target.column), options) if as_written else _readable(block, target.column, options)


def _values(column: pa.Array, missing: list[str]) -> pa.Array:
    nothing = pc.is_in(column, value_set=pa.array(missing))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), column) if pc.any(nothing).as_py() else column


def _fits(values: pa.Array, kind: str) -> bool:
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
    """True if there are integers beyond the range in which floats are distinct."""
    long = pc.filter(values, pc.match_substring_regex(values, r"^[+-]?[0-9]{16,}$"))
    if pc.any(pc.greater(pc.utf8_length(long), 18)).as_py():
        return True
    return bool(pc.any(pc.greater(pc.abs(pc.cast(pc.utf8_ltrim(long, "+"), pa.int64())), EXACT)).as_py())


def _overflows(values: pa.Array, numbers: pa.Array) -> bool:
    """True if a finite number overflows a float: 25e83726 is an id."""
    infinite = pc.filter(values, pc.is_inf(numbers))
    return pc.all(pc.match_substring_regex(infinite, INFINITE, ignore_case=True)).as_py() is False
