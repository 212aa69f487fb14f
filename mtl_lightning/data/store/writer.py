"""Writer of Stores, block by block, by one worker or several."""

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from mtl_lightning.data.cache.directory import writing
from mtl_lightning.data.store.store import META, dtype_of, file_of


def write_rows(folder: Path, block: Mapping[str, np.ndarray], start: int) -> None:
    """Write rows into the files of a Store that is being written; other workers may write its other rows.

    Args:
        folder: Folder of the files, which are made if they are missing.
        block: Matrices by name, as in :class:`~mtl_lightning.data.store.store.Store`.
        start: Number of the first row.

    Raises:
        DataError: If the disk is full or can't be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_rows(folder, {"group": np.array([3])}, 1)
        >>> write_rows(folder, {"group": np.array([7])}, 0)
        >>> np.fromfile(folder / "group.bin", np.int64).tolist()
        [7, 3]
    """
    for name, values in block.items():
        rows = np.ascontiguousarray(values, dtype=dtype_of(name))
        with writing(folder), open(folder / file_of(name), "wb", opener=_open) as file:
            file.seek(start * math.prod(rows.shape[1:]) * rows.itemsize)
            rows.tofile(file)


def _open(path: str, _: int) -> int:
    """Open a file for writing; one that exists is not emptied."""
    return os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)


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
        """Folder of the files until the Store is complete."""
        self.rows = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._late: dict[str, int] = {}

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
        if self.shapes and set(block) != set(self.shapes):
            raise ValueError(f"parts {sorted(block)} after {sorted(self.shapes)}")
        write_rows(self.partial, block, self.rows)
        self.add(len(next(iter(block.values()))), {name: values.shape[1:] for name, values in block.items()})

    def add(self, rows: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Take over rows that :func:`write_rows` wrote into :attr:`partial`.

        Args:
            rows: Their number.
            shapes: Shape of a row of each matrix.
        """
        self.rows += rows
        self.shapes |= shapes

    def write_late(self, block: Mapping[str, np.ndarray]) -> None:
        """Append further matrices of rows that are written already, such as slices of histories."""
        for name, values in block.items():
            write_rows(self.partial, {name: values}, self._late.get(name, 0))
            self._late[name] = self._late.get(name, 0) + len(values)
            self.shapes[name] = values.shape[1:]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        parts = {
            name: {"file": file_of(name), "dtype": dtype_of(name), "shape": list(shape)}
            for name, shape in self.shapes.items()
        }
        with writing(self.path):
            (self.partial / META).write_text(json.dumps({"rows": self.rows, "parts": parts}))
            self.partial.replace(self.path)
