"""Conversion of JSON lines to parquet in bounded memory; types fit all lines of all files."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
import pyarrow.types as pt

from mtl_lightning.data.arrow.keys import EXACT
from mtl_lightning.data.arrow.types import is_text, rebuild
from mtl_lightning.data.readers.files import File, check_empty
from mtl_lightning.data.readers.json_blocks import Lines, read_lines
from mtl_lightning.data.readers.mixed_json import AS_TEXT, CHANGED, resolve_message, resolve_types, rewrite_lines
from mtl_lightning.data.readers.parquet import conform
from mtl_lightning.errors import DataError


def convert(files: Sequence[File], directory: Path) -> None:
    """Write one parquet file per file of JSON lines; all have the same columns and types.

    Files are read twice: for the types, and for the values.

    Args:
        files: The files.
        directory: Directory of the parquet files.

    Raises:
        DataError: If a file can't be read; names the file and, if known, the line.
        EmptyFilesError: If no file has a line.
    """
    schema = pa.schema([])
    resolutions: dict[str, str] = {}
    empty: list[File] = []
    for file in files:
        lines = 0
        for block in read_lines(file):
            schema = _extend_schema(schema, block, resolutions)
            lines += 1
        empty += [] if lines else [file]
    check_empty(files, empty)
    # Columns without any value can't be requested; they are added as nulls.
    requested = pa.schema([field for field in schema if not pt.is_null(field.type)])
    for number, file in enumerate(files):
        with pq.ParquetWriter(directory / f"{number:05d}.parquet", schema, compression="zstd") as writer:
            for block in read_lines(file):
                rows = _parse(block, requested, resolutions)
                _check_integers(block, rows)
                writer.write_table(conform(rows, schema))


def _parse(block: Lines, schema: pa.Schema | None, resolutions: dict[str, str]) -> pa.Table:
    """Parse a block; without a schema, ``resolutions`` gets the resolution of columns that mix types."""
    unexpected = "infer" if schema is None else "ignore"
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)
    while True:
        data = rewrite_lines(block.data, resolutions)
        read = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
        try:
            return pj.read_json(pa.BufferReader(data), read, parse)
        except pa.ArrowInvalid as error:
            resolution = resolve_message(str(error), resolutions) if schema is None else None
            if resolution is None:
                raise _explain(block, str(error)) from error
            resolutions |= [resolution]


def _extend_schema(before: pa.Schema, block: Lines, resolutions: dict[str, str]) -> pa.Schema:
    """Types that fit all lines so far and the lines of a block."""
    try:
        block.data.decode("utf-8")  # Arrow does not check
    except UnicodeDecodeError as error:
        line = block.first + block.data.count(b"\n", 0, error.start)
        raise DataError(f"{block.file.path}: line {line} is not UTF-8", "JSON is UTF-8: convert the file") from error
    fields = {field.name: field for field in before}
    for parsed in _parse(block, None, resolutions).schema:
        field = parsed.with_type(_plain(parsed.type))
        known = fields.get(field.name, field)
        resolution = resolve_types(known.type, field.type)
        if resolution is not None:
            resolutions[field.name] = resolution
            kinds = [kind for kind in (known.type, field.type) if is_text(kind) == (resolution == AS_TEXT)]
            known = field = field.with_type(kinds[0])
        try:
            merged = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive")
        except pa.ArrowException as error:
            place = f"{block.file.path}: line {_first_with(block, field.name)}"
            raise DataError(f"{place}: {field.name!r} is {field.type}, before it was {known.type}") from error
        fields[field.name] = merged.field(0)
    return pa.schema(list(fields.values()))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type with text instead of times: JSON has no times, and Arrow infers them from some lines only."""
    return pa.string() if pt.is_timestamp(kind) else rebuild(kind, _plain)


def _check_integers(block: Lines, parsed: pa.Table) -> None:
    """Refuse integers that changed when they became floats: two users must not become one."""
    suspects = []
    for name, column in zip(parsed.column_names, parsed.columns, strict=True):
        values = pc.list_flatten(column) if pt.is_list(column.type) else column
        if pt.is_floating(values.type) and (pc.max(pc.abs(values)).as_py() or 0) >= EXACT:
            suspects.append(name)
    if not suspects:
        return
    for number, line in enumerate(block.data.splitlines(), start=block.first):  # slow, but only if a column is suspect
        row = json.loads(line) if line.strip() else {}
        for name in suspects:
            value = row.get(name)
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, int) and abs(item) > EXACT:
                    message = f"{block.file.path}: line {number}: {name!r} holds {item} among numbers with fractions"
                    hint = "write ids as text, or all as integers of 64 bits"
                    raise DataError(message if abs(item) < 1 << 63 else message.split(" among")[0], hint)


def _first_with(block: Lines, name: str) -> int:
    """Number of a block's first line with a value of a field."""
    numbered = enumerate(block.data.splitlines(), start=block.first)
    return next(number for number, line in numbered if line.strip() and json.loads(line).get(name) is not None)


def _explain(block: Lines, message: str) -> DataError:
    path, objects = block.file.path, []
    for number, line in enumerate(block.data.split(b"\n"), start=block.first):  # slow, but only on the way to an error
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return DataError(f"{path}: line {number} is not a JSON object", "one object per line is needed")
        except (ValueError, RecursionError) as error:
            return DataError(f"{path}: line {number} is not valid JSON: {error}", "one object per line is needed")
        objects += [number] if line.strip() else []
    match = CHANGED.search(message)
    if match and int(match[4]) < len(objects):
        name, row = match[1], match[4]
        old, new = (f"an {kind}" if kind in ("array", "object") else f"a {kind}" for kind in (match[2], match[3]))
        place = f"{path}: line {objects[int(row)]}"
        if name.endswith("/[]"):
            hint = "write all values of lists as one type"
            return DataError(f"{place}: {name[:-3]!r} holds {new} in a list, before it held {old}", hint)
        return DataError(f"{place}: {name!r} is {new}, before it was {old}")
    return DataError(f"{path} can't be read: {message}")
