"""Prepared data: schema, fitted transforms and Stores."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_lightning.batch import Batch
from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.store.store import Store
from mtl_lightning.schema import Schema

__all__ = ["Prepared", "Transforms"]


@dataclass
class Prepared:
    """What :func:`~mtl_lightning.data.preparation.prepare.prepare` makes.

    Args:
        transforms: Fitted to the training split.
        stores: Encoded rows by split.
        summary: Rows per split, label rate and number of known labels per task, share out of vocabulary, seconds.
        path: Where it is cached.
    """

    transforms: Transforms
    stores: dict[str, Store]
    summary: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def schema(self) -> Schema:
        """The fitted schema."""
        return self.transforms.schema

    @property
    def identity(self) -> str:
        """The same for the same rows: what was fitted to them, and how many there are of which label."""
        told = {name: value for name, value in self.summary.items() if name not in ("seconds", "cached")}
        return hashlib.sha256(json.dumps([self.transforms.identity, told], sort_keys=True).encode()).hexdigest()

    def encode(self, rows: Any) -> Batch:
        """Encode rows as they come when serving; see :meth:`Transforms.encode`."""
        return self.transforms.encode(rows)
