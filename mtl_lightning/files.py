"""Reads of regular files only, and atomic writes of small files."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from mtl_lightning.errors import MtlError

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
"""Names of special files by the type bits of their mode."""


def open_regular(path: Path | str, limit: int | None = None) -> BinaryIO:
    """Open a regular file for reading. Unlike opening a named pipe, this never blocks.

    Args:
        path: A local file; symbolic links are followed.
        limit: Largest size in bytes, or None for any.

    Returns:
        The binary stream. The file may grow after it was opened: use :func:`read_regular` to read all of it.

    Raises:
        MtlError: If it is a named pipe, a device or a socket, or is larger than the limit.
        OSError: If there is no such file, it is a directory or can't be opened, as from ``open``.

    Example:
        >>> open_regular("/dev/zero")
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: /dev/zero is a device, not a regular file
    """
    _check(path, Path(path).stat(), limit)  # before opening, which has side effects on some devices
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    stream: BinaryIO = os.fdopen(os.open(path, flags), "rb")
    try:
        _check(path, os.fstat(stream.fileno()), limit)
    except MtlError:
        stream.close()
        raise
    return stream


def read_regular(path: Path | str, limit: int) -> bytes:
    """Read a regular file whole.

    Args:
        path: A local file; symbolic links are followed.
        limit: Largest size in bytes, also for files that grow meanwhile or whose size is unknown.

    Raises:
        MtlError: If it is not a regular file, or is larger than the limit.
        OSError: If there is no such file, it is a directory or can't be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "small"
        >>> _ = path.write_bytes(b"text")
        >>> read_regular(path, 4)
        b'text'
    """
    with open_regular(path, limit) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def _check(path: Path | str, status: os.stat_result, limit: int | None) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise MtlError(f"{path} is {KINDS.get(stat.S_IFMT(status.st_mode), 'special')}, not a regular file")
    if limit is not None and status.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: Path | str, limit: int) -> MtlError:
    size = f"{limit / 1e6:,.0f} MB" if limit >= 1_000_000 else f"{limit:,} bytes"
    return MtlError(f"{path} is larger than {size}, the limit")


TEMPORARY = ".partial"
"""Suffix of files being written; a leftover one was interrupted."""


def write_atomic(path: Path, text: str) -> None:
    """Write a small file atomically: readers see the old text or the new one. MtlError if it can't be written."""
    partial = path.with_name(path.name + TEMPORARY)
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MtlError(f"{path} can't be written: {error.strerror or error}", "is the disk full?") from error
