"""Files of a table: search by pattern on any file system, and errors that name the file."""

import glob
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import pyarrow as pa

from mtl_lightning.data.readers.listing import MAX_FILES, expand_user, list_below, match_glob
from mtl_lightning.errors import DataError, MtlError

FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}
FORMATS |= {".txt": "csv", ".ndjson": "json", ".data": "csv"}
"""Format by a file's suffix, without the suffix of a compression."""
CHANGES = ("size", "mtime", "created", "ETag", "etag", "Last-Modified", "LastModified", "CRC")
"""Attributes that file systems report and that change with the file."""
LOCAL = "file://"
COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4", ".br")
MARK = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8."""


class EmptyFilesError(DataError):
    """Files without any row."""


def check_empty(files: Sequence["File"], empty: Sequence["File"]) -> None:
    """Warn of empty files among others.

    Args:
        files: All files of a table.
        empty: Those without any line.

    Raises:
        EmptyFilesError: If all files are empty.
    """
    if len(empty) == len(files):
        paths = ", ".join(file.path for file in files)
        raise EmptyFilesError(f"{paths} {'is' if len(files) == 1 else 'are'} empty")
    for file in empty:
        warnings.warn(f"{file.path} is empty and is skipped", stacklevel=3)


class File(NamedTuple):
    """One file.

    Args:
        path: Local path or URL.
        stamp: Text that changes when the file changes.
        local: The file is on this machine's file system.
    """

    path: str
    stamp: str
    local: bool


def find_files(patterns: Sequence[str]) -> list[File]:
    """Find files by path, glob or fsspec URL, in the order of the patterns and sorted within each.

    Args:
        patterns: Paths, globs or URLs.

    Raises:
        DataError: If a pattern matches no file or too many, or a file can't be reached.

    Example:
        >>> find_files(["/nowhere/*.csv"])
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: source.path: no file '/nowhere/*.csv' (globs match file names, ** any depth)
    """
    if not patterns:
        raise DataError("source.path: no file is named", "a path, a glob or a list of them")
    files: list[File] = []
    for pattern in patterns:
        matches = _remote(pattern) if "://" in pattern else _local(pattern)
        if not matches:
            hint = "globs match file names, ** any depth" if glob.has_magic(pattern) else "relative paths start here: "
            hint += "" if glob.has_magic(pattern) else str(Path.cwd())
            hint = "the directory has no files" if Path(pattern).is_dir() else hint
            raise DataError(f"source.path: no file {pattern!r}", hint)
        files += matches
    return files


def _local(pattern: str) -> list[File]:
    pattern = str(expand_user(pattern))
    try:
        # A file of exactly this name has priority over the glob: names may contain brackets.
        names = [pattern] if Path(pattern).exists() else match_glob(pattern)
    except (OSError, ValueError) as error:  # a name that is too long or contains NUL
        raise DataError(f"source.path: {pattern[:200]!r} can't be reached: {error}") from error
    if len(names) == 1 and Path(names[0]).is_dir():
        names = list_below(names[0])
    return [File(name, stamp(Path(name)), local=True) for name in names if Path(name).is_file()]


def stamp(path: Path) -> str:
    """Text that changes with a local file, even if its size and time stay the same (``cp -p``, ``rsync -t``)."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def _remote(pattern: str) -> list[File]:
    below_root = pattern.removeprefix(LOCAL)
    if pattern.startswith(LOCAL) and (glob.has_magic(below_root) or Path(below_root).is_dir()):  # limits apply
        return [File(LOCAL + file.path, file.stamp, local=False) for file in _local(below_root)]
    try:
        system, path = fsspec.url_to_fs(pattern)
        if glob.has_magic(path):
            names = sorted(system.glob(path))
        elif system.info(path)["type"] == "directory":
            names = sorted(name for name in system.find(path) if name.rsplit("/", 1)[-1][0] not in "._")
        else:
            names = [path]
        # The name of a file in an archive includes the archive: zip://logs/*.csv::logs.zip
        inside = pattern[pattern.index("::") :] if "::" in pattern else ""
        if len(names) > MAX_FILES:
            raise DataError(f"source.path: {pattern!r} matches more than {MAX_FILES:,} files", "name fewer files")
        return [File(system.unstrip_protocol(name) + inside, _stamp(system, name), local=False) for name in names]
    except FileNotFoundError:
        return []
    except MtlError:
        raise
    except Exception as error:  # file systems raise any exception for an address that they reject
        message = f"source.path: {pattern!r} can't be reached: {_reason(error)}"
        raise DataError(message, "check that the address is complete") from error


def _stamp(system: Any, name: str) -> str:
    # The own key of some file systems (HTTP above all) depends on the address only.
    info = system.info(name)
    return ":".join(str(part) for part in (system.ukey(name), *(info.get(key) for key in CHANGES)))


def format_of(path: str) -> str | None:
    """Format of a file by its suffix; None if the suffix is unknown.

    Example:
        >>> format_of("log/2024.csv.gz"), format_of("log.dat")
        ('csv', None)
    """
    name = Path(path.split("::")[0].split("?")[0])
    while name.suffix.lower() in COMPRESSIONS:
        name = name.with_suffix("")
    return FORMATS.get(name.suffix.lower())


@contextmanager
def open_file(file: File) -> Iterator[Any]:
    """Open a file as a decompressed binary stream.

    Raises:
        DataError: If the file can't be opened or read; names the file.
    """
    with reading(file.path):
        if file.local:
            with pa.input_stream(file.path, compression="detect") as stream:
                yield stream
        else:
            with fsspec.open(file.path, "rb", compression="infer") as stream:
                yield stream


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Context manager that turns errors of reading into a DataError with the file's name.

    Example:
        >>> with reading("log.csv"):
        ...     raise OSError("disk error")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: log.csv can't be read: disk error
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"no file {path}") from error
        raise DataError(f"{path} can't be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """First line of an error's message, or its type if there is no message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
