"""Vectors of texts on disk, so that no text is embedded twice."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from mtl_lightning.errors import DataError

ASKED = 500
"""Keys per query; SQLite takes 999 variables at least."""
WAIT = 120.0
"""Seconds to wait for another process that writes."""


class VectorCache:
    """Vectors by text, in one SQLite file that several processes may use at once.

    Args:
        path: The file; it appears with the first vectors.
        limit: Vectors kept at most; the ones that came first go first.

    Raises:
        DataError: If the file can't be used.

    Example:
        >>> import tempfile
        >>> cache = VectorCache(Path(tempfile.mkdtemp(), "vectors.sqlite"), limit=2)
        >>> cache.put(["a", "b", "c"], np.eye(3, dtype=np.float32))
        >>> {text: vector.tolist() for text, vector in cache.get(["a", "c"]).items()}
        {'c': [0.0, 0.0, 1.0]}
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit

    def get(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Vectors of those texts that are there."""
        if not self.limit or not self.path.is_file():
            return {}
        wanted = {key(text): text for text in texts}
        keys, found = list(wanted), {}
        with self._open() as connection:
            for start in range(0, len(keys), ASKED):
                part = keys[start : start + ASKED]
                marks = ",".join("?" * len(part))
                for one, vector in connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part):
                    found[wanted[one]] = np.frombuffer(vector, dtype="<f4")
        return found

    def put(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keep vectors [n, d] of texts."""
        if not self.limit:
            return
        rows = [(key(text), vector.astype("<f4").tobytes()) for text, vector in zip(texts, vectors, strict=True)]
        with self._open() as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO vectors (key, vector) VALUES (?, ?)", rows)
            connection.execute(
                "DELETE FROM vectors WHERE number <= (SELECT max(number) FROM vectors) - ?", (self.limit,)
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of this call: threads and forked processes must not share one."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=WAIT)) as connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS vectors"
                    " (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL)"
                )
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise DataError(f"{self.path} can't be used: {error}", "remove it, or set MTL_CACHE") from error


def key(text: str) -> bytes:
    """What a text is kept under."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
