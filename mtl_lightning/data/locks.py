"""One process works, the others wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from mtl_lightning.errors import DataError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to a path of the cache, ``<path>.lock``.

    Raises:
        DataError: If the cache can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.with_name(path.name + ".lock"))
        lock.acquire()
    except OSError as error:
        raise DataError(f"the cache {path.parent} can't be written: {error.strerror}", "set MTL_CACHE") from error
    try:
        yield
    finally:
        lock.release()
