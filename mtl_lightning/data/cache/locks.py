"""One process works, the others wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from mtl_lightning.errors import DataError


@contextmanager
def locked(path: Path, what: str = "the cache", hint: str = "set MTL_CACHE") -> Iterator[None]:
    """Hold the lock that belongs to a path, ``<path>.lock``.

    Args:
        path: Of the cache, or another one.
        what: What its folder is, for messages.
        hint: What to do if nothing can be written there.

    Raises:
        DataError: If nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock")
        file.touch()  # where no file can be made, acquire would try for ever
        lock = filelock.FileLock(file)
        lock.acquire()
    except OSError as error:
        raise DataError(f"{what} {path.parent} can't be written: {error.strerror}", hint) from error
    try:
        yield
    finally:
        lock.release()
