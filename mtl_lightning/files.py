"""Atomic writes of small files."""

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
"""What a file that is not regular is, by the type bits of its mode."""


def open_regular(path: Path | str, limit: int | None = None) -> BinaryIO:
    """Open a regular file for reading; never waits, as opening a named pipe would.

    Args:
        path: A local file; symbolic links are followed.
        limit: Largest size in bytes, or None for any.

    Returns:
        The binary stream. A file may grow after it was opened: whoever reads it whole uses :func:`read_regular`.

    Raises:
        MtlError: If it is a named pipe, a device or a socket, or is larger than the limit.
        OSError: If there is no such file, it is a directory or can't be opened, as from ``open``.

    Example:
        >>> open_regular("/dev/zero")
        Traceback (most recent call last):
        mtl_lightning.errors.MtlError: /dev/zero is a device, not a regular file
    """
    _check(path, Path(path).stat(), limit)  # before opening: of some devices that alone has effects
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
        limit: Largest size in bytes. Holds also for a file that grows meanwhile, or whose size is not known.

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
    return MtlError(f"{path} is larger than {size}, the most that is read")


TEMPORARY = ".partial"
"""Ending of files that are being written; one that is found later was cut off."""


def write_atomic(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one, never a part; MtlError if it can't be."""
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
