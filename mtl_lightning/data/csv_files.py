"""CSV → parquet, with types that all rows of all files agree on, and errors that name file and line."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mtl_lightning.data.csv_blocks import read_blocks
from mtl_lightning.data.csv_options import CsvOptions
from mtl_lightning.data.files import EmptyFilesError, File
from mtl_lightning.data.keys import INTEGER
from mtl_lightning.data.numbers import MISSING
from mtl_lightning.errors import DataError

MISSING_TEXT = MISSING[:2]
"""What stands for a missing value in a column of text: NA is Namibia."""
EXACT = 1 << 53
"""Up to here a float64 holds every integer."""


def convert(files: Sequence[File], options: CsvOptions, directory: Path) -> None:
    """Write one parquet file per CSV file.

    A column holds integers if every value of every file prints as one (007 doesn't), else numbers (unless there are
    integers among them that a float would change), else truth values, else text.

    Raises:
        DataError: Naming the file, and the line where there is one.
    """
    types = infer(files, options)
    for number, file in enumerate(files):
        schema = pa.schema(list(types.items()))
        with pq.ParquetWriter(directory / f"{number:05d}.parquet", schema, compression="zstd") as writer:
            for block in read_blocks(file, options):
                if not block.num_rows:
                    continue
                columns = [_cast(_readable(block.column(name), name, options), kind) for name, kind in types.items()]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def infer(files: Sequence[File], options: CsvOptions) -> dict[str, pa.DataType]:
    """Type of each column over all rows of all files."""
    candidates: dict[str, list[str]] = {}
    first, rows, blank = "", 0, []
    for file in files:
        names: list[str] | None = None
        for block in read_blocks(file, options):
            rows += block.num_rows
            if names is None:
                names = block.schema.names
                if not candidates:
                    candidates = {name: [] if name in options.text else list(TYPES) for name in names}
                    first = file.path
                elif set(names) != set(candidates):
                    odd = ", ".join(map(repr, sorted(set(names) ^ set(candidates))))
                    raise DataError(f"{file.path} and {first} have different columns: {odd}")
            if not block.num_rows:
                continue
            for name, left in candidates.items():
                _narrow(left, _readable(block.column(name), name, options))
        blank += [file.path] if names is None else []
    _check_rows(files, names=bool(candidates), rows=rows)
    for path in blank:
        warnings.warn(f"{path} is empty and is skipped", stacklevel=2)
    return {name: TYPES[left[0]] if left else pa.string() for name, left in candidates.items()}


def _narrow(kinds: list[str], column: pa.Array) -> None:
    """Remove the kinds that a further block has not: what is left must hold for the blocks before it, too."""
    if not kinds:
        return
    values = _values(column, MISSING)
    first = values[:100]  # Arrow takes long to fail at every value of a block
    while kinds and not (_fits(first, kinds[0]) and _fits(values, kinds[0])):
        kinds.pop(0)
    if "truth" in kinds[1:] and not (_fits(first, "truth") and _fits(values, "truth")):
        kinds.remove("truth")
    # Only text of 16 characters can be an integer that a float would change.
    if "number" in kinds[1:] and (pc.max(pc.binary_length(values)).as_py() or 0) > 15 and not _fits(values, "number"):
        kinds.remove("number")


def _check_rows(files: Sequence[File], *, names: bool, rows: int) -> None:
    if not rows:
        paths = ", ".join(file.path for file in files)
        nothing = f"{paths} {'is' if len(files) == 1 else 'are'} empty"
        raise EmptyFilesError(f"{paths}: no rows below the header" if names else nothing)


TYPES = {"integer": pa.int64(), "number": pa.float64(), "truth": pa.bool_()}


def _readable(column: pa.Array, name: str, options: CsvOptions) -> pa.Array:
    """A column with null for the source's own spellings of a missing value, and plain numbers where it isn't text."""
    if options.missing:
        column = _values(column, list(options.missing))
    return column if name in options.text else options.numbers.plain(column)


def _values(column: pa.Array, missing: list[str]) -> pa.Array:
    nothing = pc.is_in(column, value_set=pa.array(missing))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), column) if pc.any(nothing).as_py() else column


def _fits(values: pa.Array, kind: str) -> bool:
    try:
        if kind == "integer":
            whole = pc.all(pc.match_substring_regex(values, INTEGER)).as_py()
            pc.cast(values if whole is not False else values.slice(0, 0), pa.int64())
            return whole is not False
        if kind == "number" and pc.any(pc.match_substring_regex(values, r"^[+-]?0[0-9]")).as_py():
            return False  # codes with leading zeros
        if kind == "number" and _large(values):
            return False  # ids that a float would change
        pc.cast(values, TYPES[kind])
    except pa.ArrowException:
        return False
    return True


def _large(values: pa.Array) -> bool:
    """Whether there are integers beyond those that a float tells apart."""
    long = pc.filter(values, pc.match_substring_regex(values, r"^[+-]?[0-9]{16,}$"))
    if pc.any(pc.greater(pc.utf8_length(long), 18)).as_py():
        return True
    return bool(pc.any(pc.greater(pc.abs(pc.cast(pc.utf8_ltrim(long, "+"), pa.int64())), EXACT)).as_py())


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    text = pa.types.is_string(kind)
    return pc.cast(_values(column, MISSING_TEXT if text else MISSING), kind)
