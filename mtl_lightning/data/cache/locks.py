"""Locks between processes that share a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from mtl_lightning.errors import DataError


@contextmanager
def locked(path: Path, what: str = "the cache", hint: str = "set MTL_CACHE") -> Iterator[None]:
    """Context manager that holds the lock file of a path, ``<path>.lock``.

    Other processes wait until it is released.

    Args:
        path: Path in the cache or in another folder; need not exist.
        what: Name of the folder, for messages.
        hint: Remedy if the folder can't be written.

    Raises:
        DataError: If the folder can't be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with locked(folder / "rows"):
        ...     (folder / "rows.lock").exists()
        True
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock")
        file.touch()  # if no file can be created, acquire would retry forever
        lock = filelock.FileLock(file)
        lock.acquire()
    except OSError as error:
        raise DataError(f"{what} {path.parent} can't be written: {error.strerror}", hint) from error
    try:
        yield
    finally:
        lock.release()
