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
    """Result of :func:`~mtl_lightning.data.preparation.prepare.prepare`.

    Args:
        transforms: Transforms that are fitted to the training split.
        stores: Encoded rows by split.
        summary: Counts and rates of the encoded rows, as :meth:`Summary.to_dict
            <mtl_lightning.data.preparation.summary.Summary.to_dict>` returns them, with ``seconds`` and ``cached``.
        path: Directory in the cache, or None.
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
        """Digest of the fitted transforms and the summary: equal for equal rows."""
        summary = {name: value for name, value in self.summary.items() if name not in ("seconds", "cached")}
        return hashlib.sha256(json.dumps([self.transforms.identity, summary], sort_keys=True).encode()).hexdigest()

    def encode(self, rows: Any) -> Batch:
        """Encode rows of a request; see :meth:`Transforms.encode`."""
        return self.transforms.encode(rows)
