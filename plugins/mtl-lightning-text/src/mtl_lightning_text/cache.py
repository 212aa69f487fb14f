"""Cache of text vectors on disk."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from mtl_lightning.errors import DataError

KEYS_PER_QUERY = 500
"""Number of keys per query; SQLite allows at least 999 variables."""
WAIT = 120.0
"""Seconds to wait for another process that writes."""


class VectorCache:
    """Vectors by text, in an SQLite file that several processes may use at once.

    Args:
        path: The file; created with the first vectors.
        limit: Largest number of vectors; the oldest are dropped first. 0 turns the cache off.

    Raises:
        DataError: If the file can't be read or written.

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
        """Vectors [d] float32 of the cached texts among these.

        Args:
            texts: The texts.
        """
        if not self.limit or not self.path.is_file():
            return {}
        text_of_key = {key(text): text for text in texts}
        keys, vectors = list(text_of_key), {}
        with self._open() as connection:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                part = keys[start : start + KEYS_PER_QUERY]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"
                for digest, vector in connection.execute(query, part):
                    vectors[text_of_key[digest]] = np.frombuffer(vector, dtype="<f4")
        return vectors

    def put(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Store the vectors of texts.

        Args:
            texts: The texts.
            vectors: Their vectors, [n, d].
        """
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
        """Context manager with a new connection: threads and forked processes must not share connections."""
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
    """Key of a text in the cache."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
