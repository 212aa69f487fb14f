"""JSON lines → parquet, with errors that name file and line."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from mtl_lightning.data.files import File, opened
from mtl_lightning.data.parquet_rows import conform
from mtl_lightning.errors import DataError

LARGEST_BLOCK = 256 << 20


def convert(files: Sequence[File], directory: Path) -> None:
    """Write one parquet file per file of JSON lines; all get the columns and types of all.

    Raises:
        DataError: Naming the file, and the line where it can be told.
    """
    schemas = [_write(file, directory / f"{number:05d}.parquet") for number, file in enumerate(files)]
    try:
        common = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        names = ", ".join(file.path for file in files)
        raise DataError(f"files disagree on the type of a column: {error} ({names})") from error
    for number, schema in enumerate(schemas):
        if schema != common:
            path = directory / f"{number:05d}.parquet"
            pq.write_table(conform(pq.read_table(path), common), path)


def _write(file: File, target: Path) -> pa.Schema:
    with opened(file) as stream:
        data = stream.read()
        if not data.strip():
            raise DataError(f"{file.path} is empty")
        try:
            # One block where possible: then types are those of all rows, and errors count rows from the file's start.
            options = pj.ReadOptions(use_threads=False, block_size=min(len(data) + 1, LARGEST_BLOCK))
            table = pj.read_json(pa.BufferReader(data), options)
        except pa.ArrowInvalid as error:
            raise _explain(file, data, str(error)) from error
    pq.write_table(table, target, compression="zstd")
    return table.schema


def _explain(file: File, data: bytes, message: str) -> DataError:
    for number, line in enumerate(data.splitlines(), start=1):  # only before giving up
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return DataError(f"{file.path}: line {number} is no JSON object", "one object per line is needed")
        except UnicodeDecodeError:
            return DataError(f"{file.path}: line {number} is not UTF-8")
        except ValueError as error:
            return DataError(f"{file.path}: line {number} is no JSON: {error}", "one object per line is needed")
    found = re.search(r"Column\(/(.*)\) changed from (\w+) to (\w+) in row (\d+)", message)
    if found:
        name, old, new, row = found.groups()
        return DataError(f"{file.path}: line {int(row) + 1}: {name!r} is a {new}, before it was a {old}")
    return DataError(f"{file.path} can't be read: {message}")
