"""Tables that are written to the cache once and memory-mapped afterwards."""

import itertools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import datasets
import pyarrow as pa

from mtl_lightning.data.cache.directory import cache_directory
from mtl_lightning.data.cache.locks import locked
from mtl_lightning.data.cache.write_files import write_files

ROWS_PER_FILE = 2_000_000
"""Number of rows after which a new file begins."""


def cache_files(name: str, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> list[Path]:
    """Write rows to Arrow files in the cache, unless they are there; return the files.

    One process writes while others wait, and an interruption leaves no file.

    Args:
        name: Path below the cache directory; must change when the rows change.
        schema: Schema of the rows.
        batches: Function that yields the rows in blocks; called only if the files are missing.

    Raises:
        DataError: If the disk is full or can't be written.
    """
    directory = cache_directory() / name
    with locked(directory):
        if not directory.exists():
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".partial-") as partial:
                content = Path(partial, "files")
                content.mkdir()
                paths = (content / f"{n:05d}.arrow" for n in itertools.count())
                write_files(iter(batches()), lambda file: pa.ipc.new_stream(file, schema), paths, ROWS_PER_FILE)
                content.replace(directory)
    return sorted(directory.glob("*.arrow"))


def cache_rows(name: str, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> datasets.Dataset:
    """Write rows as :func:`cache_files` does; return them as a memory-mapped dataset."""
    files = cache_files(name, schema, batches)
    return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in files])
