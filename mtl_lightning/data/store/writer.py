"""Writer of Stores, block by block."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mtl_lightning.data.cache.directory import writing
from mtl_lightning.data.store.store import META, dtype_of, file_of


class StoreWriter:
    """Context manager that writes a Store block by block.

    The directory gets its name only when the Store is complete; an error removes what was written.

    Args:
        path: Directory to create; must not exist.

    Raises:
        DataError: If the disk is full or can't be written.

    Example:
        >>> import tempfile
        >>> from mtl_lightning.data.store.store import Store
        >>> from mtl_lightning.schema import Schema
        >>> path = Path(tempfile.mkdtemp()) / "train"
        >>> with StoreWriter(path) as writer:
        ...     writer.write({"ids": np.array([[1], [2]]), "dense": np.zeros((2, 0)), "labels": np.zeros((2, 0)),
        ...                   "mask": np.zeros((2, 0))})
        >>> len(Store.open(path, Schema((), ())))
        2
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
        self.rows = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.files: dict[str, Any] = {}

    def __enter__(self) -> Self:
        shutil.rmtree(self.partial, ignore_errors=True)
        with writing(self.path):
            self.partial.mkdir(parents=True)
        return self

    def write(self, block: Mapping[str, np.ndarray]) -> None:
        """Append rows.

        Args:
            block: Matrices by name, as in :class:`~mtl_lightning.data.store.store.Store`.

        Raises:
            ValueError: If the block has other matrices than the first one.
            DataError: If the disk is full or can't be written.
        """
        if self.files and set(block) != set(self.files):
            raise ValueError(f"parts {sorted(block)} after {sorted(self.files)}")
        self.write_late(block)
        self.rows += len(next(iter(block.values())))

    def write_late(self, block: Mapping[str, np.ndarray]) -> None:
        """Append further matrices of rows that are written already, such as slices of histories."""
        for name, values in block.items():
            with writing(self.path):
                if name not in self.files:
                    self.shapes[name] = values.shape[1:]
                    self.files[name] = (self.partial / file_of(name)).open("wb")
                np.ascontiguousarray(values, dtype=dtype_of(name)).tofile(self.files[name])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for file in self.files.values():
                with suppress(OSError):  # the error that ended the writing is the one to report
                    file.close()
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        parts = {
            name: {"file": file_of(name), "dtype": dtype_of(name), "shape": list(shape)}
            for name, shape in self.shapes.items()
        }
        with writing(self.path):
            for file in self.files.values():
                file.close()
            (self.partial / META).write_text(json.dumps({"rows": self.rows, "parts": parts}))
            self.partial.replace(self.path)
