"""Directory of downloaded and generated data, and errors of writing it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtl_lightning.errors import DataError


def cache_directory() -> Path:
    """Directory of the cache: ``MTL_CACHE`` or ``~/.cache/mtl_lightning``; it may not exist yet."""
    return Path(os.environ.get("MTL_CACHE") or Path.home() / ".cache" / "mtl_lightning")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Context manager that turns errors of writing into a DataError with the path.

    Args:
        path: File or folder that is written.

    Raises:
        DataError: If the disk is full or can't be written.

    Example:
        >>> with writing(Path("/nowhere/file")):
        ...     Path("/nowhere/file").write_text("rows")
        Traceback (most recent call last):
        mtl_lightning.errors.DataError: /nowhere/file can't be written: No such file or directory \
(free space, or set data.cache_dir and MTL_CACHE)
    """
    try:
        yield
    except OSError as error:
        hint = "free space, or set data.cache_dir and MTL_CACHE"
        raise DataError(f"{path} can't be written: {error.strerror or error}", hint) from error
