"""Encoded rows as a few packed, memory-mapped matrices: a batch is one gather per matrix."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mtl_lightning.batch import Batch
from mtl_lightning.errors import DataError
from mtl_lightning.schema import Schema

META = "store.json"
DTYPES = {
    "ids": "int32",
    "dense": "float32",
    "labels": "float32",
    "mask": "bool",
    "weight": "float32",
    "group": "int64",
}
"""Type on disk of each matrix; ``sequence/…`` is int32, ``vector/…`` float32, ``raw/…`` float64."""
PREFIXES = {"sequence": "int32", "vector": "float32", "raw": "float64"}


def dtype_of(part: str) -> str:
    """Type on disk of a matrix.

    Example:
        >>> dtype_of("ids"), dtype_of("raw/p_click")
        ('int32', 'float64')
    """
    return DTYPES.get(part) or PREFIXES[part.split("/", 1)[0]]


class Store:
    """Rows of one split.

    Args:
        schema: Fitted schema.
        parts: Matrices by name: ``ids`` [N, C], ``dense`` [N, F], ``labels`` [N, ΣK], ``mask`` [N, T], and where there
            are any ``weight`` [N, T], ``group`` [N], ``sequence/<name>`` [N, L], ``vector/<name>`` [N, d],
            ``raw/<name>`` [N].

    Example:
        >>> from mtl_lightning.schema import Field
        >>> schema = Schema((Field(name="user", kind="categorical", size=4, table="user"),), ())
        >>> empty = torch.zeros(3, 0)
        >>> store = Store(schema, {"ids": torch.tensor([[1], [2], [3]], dtype=torch.int32), "dense": empty,
        ...                        "labels": empty, "mask": empty.bool()})
        >>> store.batch(torch.tensor([2, 0])).ids.tolist()
        [[3], [1]]
    """

    def __init__(self, schema: Schema, parts: Mapping[str, Tensor]) -> None:
        self.schema = schema
        self.parts = dict(parts)

    @classmethod
    def open(cls, path: Path, schema: Schema) -> Self:
        """Map a Store that :class:`StoreWriter` wrote; nothing is read until it is used.

        Raises:
            DataError: If it is missing or damaged.
        """
        try:
            meta = json.loads((path / META).read_text())
            parts = {name: _map(path / part["file"], part, meta["rows"]) for name, part in meta["parts"].items()}
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: not a complete Store ({error})", "remove it; it is prepared again") from error
        return cls(schema, parts)

    def __len__(self) -> int:
        return int(self.parts["ids"].shape[0])

    @property
    def bytes(self) -> int:
        """Size of all matrices."""
        return sum(part.numel() * part.element_size() for part in self.parts.values())

    def batch(self, index: Tensor | slice) -> Batch:
        """The rows of ``index`` (int64, or a slice), in its order."""

        def take(part: Tensor) -> Tensor:
            return part[index] if isinstance(index, slice) else part.index_select(0, index)

        named: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in PREFIXES}
        plain: dict[str, Tensor] = {}
        for name, part in self.parts.items():
            prefix, _, rest = name.partition("/")
            if rest:
                named[prefix][rest] = take(part).long() if prefix == "sequence" else take(part)
            else:
                plain[name] = take(part)
        return Batch(
            schema=self.schema,
            ids=plain["ids"].long(),
            dense=plain["dense"],
            labels=plain["labels"],
            mask=plain["mask"],
            sequences=named["sequence"],
            vectors=named["vector"],
            weight=plain.get("weight"),
            group=plain.get("group"),
            raw=named["raw"],
        )


def _map(path: Path, part: Mapping[str, Any], rows: int) -> Tensor:
    shape = (rows, *part["shape"])
    if 0 in shape:
        return torch.from_numpy(np.zeros(shape, dtype=part["dtype"]))
    # Copy-on-write: torch wants writable memory, and the file must stay as it is.
    return torch.from_numpy(np.memmap(path, dtype=part["dtype"], mode="c", shape=shape))


class StoreWriter:
    """Writes a Store block by block; it appears under its path only when it is whole.

    Args:
        path: Directory to make; must not exist.

    Example:
        >>> import tempfile
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
        self.partial.mkdir(parents=True)
        return self

    def write(self, block: Mapping[str, np.ndarray]) -> None:
        """Append rows; every block has the same parts."""
        if self.files and set(block) != set(self.files):
            raise ValueError(f"parts {sorted(block)} after {sorted(self.files)}")
        for name, values in block.items():
            if name not in self.files:
                self.shapes[name] = values.shape[1:]
                self.files[name] = (self.partial / _file(name)).open("wb")
            np.ascontiguousarray(values, dtype=dtype_of(name)).tofile(self.files[name])
        self.rows += len(next(iter(block.values())))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self.files.values():
            file.close()
        if kind is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        parts = {
            name: {"file": _file(name), "dtype": dtype_of(name), "shape": list(shape)}
            for name, shape in self.shapes.items()
        }
        (self.partial / META).write_text(json.dumps({"rows": self.rows, "parts": parts}))
        self.partial.replace(self.path)


def _file(name: str) -> str:
    # Feature names may hold any character; files are numbered by a hex form of the name.
    prefix, _, rest = name.partition("/")
    return f"{prefix}-{rest.encode().hex()}.bin" if rest else f"{prefix}.bin"
