"""Tables that are written to the cache once and memory-mapped ever after."""

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


def kept_files(name: str, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> list[Path]:
    """Arrow files with these rows; written by one process, all together or not at all.

    Args:
        name: Path below the cache directory that changes when the rows change.
        schema: Of the rows.
        batches: Makes the rows, block by block; called only if the files are not there.
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


def kept_rows(name: str, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> datasets.Dataset:
    """The same as a memory-mapped dataset."""
    files = kept_files(name, schema, batches)
    return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in files])
