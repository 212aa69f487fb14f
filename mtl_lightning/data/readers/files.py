"""Files of a table: found by pattern on any file system, opened with errors that name them."""

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa

from mtl_lightning.data.readers.listing import MAX_FILES, below, expanded, matching
from mtl_lightning.errors import DataError, MtlError

FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}
FORMATS |= {".txt": "csv", ".ndjson": "json", ".data": "csv"}
"""Format by the ending of a file, before that of a compression."""
CHANGES = ("size", "mtime", "created", "ETag", "etag", "Last-Modified", "LastModified", "CRC")
"""What file systems tell of a file that changes with it."""
LOCAL = "file://"
COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4", ".br")


class EmptyFilesError(DataError):
    """Files that hold no row."""


class File(NamedTuple):
    """One file.

    Args:
        path: Local path or URL.
        stamp: Changes when the file changes.
        local: On this machine's file system.
    """

    path: str
    stamp: str
    local: bool


def find(patterns: Sequence[str]) -> list[File]:
    """Files by path, glob or fsspec URL, in the order of the patterns, sorted within each.

    Raises:
        DataError: If a pattern finds nothing or too much, or a file can't be reached.

    Example:
        >>> find(["/nowhere/*.csv"])
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: source.path: no file '/nowhere/*.csv' (globs match file names, ** any depth)
    """
    if not patterns:
        raise DataError("source.path: names no file", "a path, a glob or a list of them")
    files: list[File] = []
    for pattern in patterns:
        found = _remote(pattern) if "://" in pattern else _local(pattern)
        if not found:
            hint = "globs match file names, ** any depth" if glob.has_magic(pattern) else "relative paths start here: "
            hint += "" if glob.has_magic(pattern) else str(Path.cwd())
            hint = "the directory holds no file" if Path(pattern).is_dir() else hint
            raise DataError(f"source.path: no file {pattern!r}", hint)
        files += found
    return files


def _local(pattern: str) -> list[File]:
    pattern = str(expanded(pattern))
    try:
        # A file of exactly this name comes first: names may hold brackets.
        names = [pattern] if Path(pattern).exists() else matching(pattern)
    except (OSError, ValueError) as error:  # a name that is too long or holds a NUL
        raise DataError(f"source.path: {pattern[:200]!r} can't be reached: {error}") from error
    if len(names) == 1 and Path(names[0]).is_dir():
        names = below(names[0])
    return [File(name, stamp(Path(name)), local=True) for name in names if Path(name).is_file()]


def stamp(path: Path) -> str:
    """Changes when a local file does, also one of the same size whose time was set back (``cp -p``, ``rsync -t``)."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def _remote(pattern: str) -> list[File]:
    below_root = pattern.removeprefix(LOCAL)
    if pattern.startswith(LOCAL) and (glob.has_magic(below_root) or Path(below_root).is_dir()):  # within the limits
        return [File(LOCAL + file.path, file.stamp, local=False) for file in _local(below_root)]
    try:
        system, path = fsspec.url_to_fs(pattern)
        if glob.has_magic(path):
            names = sorted(system.glob(path))
        elif system.info(path)["type"] == "directory":
            names = sorted(name for name in system.find(path) if name.rsplit("/", 1)[-1][0] not in "._")
        else:
            names = [path]
        # Of a file in an archive (zip://logs/*.csv::logs.zip) the name says where the archive is.
        inside = pattern[pattern.index("::") :] if "::" in pattern else ""
        if len(names) > MAX_FILES:
            raise DataError(f"source.path: {pattern!r} matches more than {MAX_FILES:,} files", "name fewer files")
        return [File(system.unstrip_protocol(name) + inside, _stamp(system, name), local=False) for name in names]
    except FileNotFoundError:
        return []
    except MtlError:
        raise
    except Exception as error:  # what a file system raises for an address that it can't take is its own matter
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"source.path: {pattern!r} can't be reached: {reason}", "is the address complete?") from error


def _stamp(system: Any, name: str) -> str:
    # Some file systems' own key, that of the web above all, is the address alone.
    info = system.info(name)
    return ":".join(str(part) for part in (system.ukey(name), *(info.get(key) for key in CHANGES)))


def format_of(path: str) -> str | None:
    """Format by ending.

    Example:
        >>> format_of("log/2024.csv.gz"), format_of("log.dat")
        ('csv', None)
    """
    name = Path(path.split("::")[0].split("?")[0])
    while name.suffix.lower() in COMPRESSIONS:
        name = name.with_suffix("")
    return FORMATS.get(name.suffix.lower())


@contextmanager
def opened(file: File) -> Iterator[Any]:
    """A decompressed binary stream.

    Raises:
        DataError: From opening or from Arrow while reading, with the file's name.
    """
    with naming(file.path):
        if file.local:
            with pa.input_stream(file.path, compression="detect") as stream:
                yield stream
        else:
            with fsspec.open(file.path, "rb", compression="infer") as stream:
                yield stream


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Turn errors of reading into a DataError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"no file {path}") from error
        raise DataError(f"{path} can't be read: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
