"""The kind of feature ``language_model``: text columns as vectors of a frozen language model."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from mtl_lightning.data.arrow.keys import keys, text
from mtl_lightning.data.cache.directory import cache_directory
from mtl_lightning.errors import DataError
from mtl_lightning.interfaces import Block, Feature, Field, StatelessTransform, Transform, as_written, check
from mtl_lightning_text.cache import VectorCache
from mtl_lightning_text.model import LocalModel, find_model

PIECE = 512
"""Number of texts after which vectors are stored, so that an interrupted preparation can continue."""
PATIENCE = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel(Feature):
    """Text as the vector of a frozen language model; a row without text is zero.

    Pooling and normalisation follow the configuration of a sentence-transformers model; a plain transformers model has
    the mean over its tokens. Vectors are cached on disk by the hash of model and text.

    Source: Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019.

    Args:
        model: A directory, ``package:name/folder`` for one inside an installed package, or an id of the Hugging Face
            hub.
        column: Raw column, or several that are joined in this order; None for the column named like the feature.
        separator: Text between joined columns.
        prompt: Text that the model expects before each text, such as ``"query: "``.
        length: Largest number of tokens of a text; None for the model's own limit.
        batch_size: Number of texts per batch.
        device: Device of the model; None for the fastest available.
        precision: Type of the model's weights. ``bfloat16`` takes about half the time on processors that support it,
            and changes values by about 0.001.
        revision: Branch, tag or commit of the hub.
        fetch: Download a missing model from the hub; otherwise nothing uses the network.
        cache_rows: Largest number of vectors on disk; 0 for none.

    Shapes: [B, d] float32, d the width of the model.

    Raises:
        DataError: If an option is out of range; on use, if the model is missing or differs from the one in training.

    Example:
        >>> LanguageModel(model="some/model", column=["title", "body"]).columns("text")
        ('title', 'body')
    """

    kind: ClassVar[str] = "language_model"
    makes: ClassVar[str] = "vector"
    model: str
    column: str | tuple[str, ...] | None = None
    separator: str = " "
    prompt: str = ""
    length: int | None = None
    batch_size: int = 64
    device: str | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    revision: str | None = None
    fetch: bool = False
    cache_rows: int = 1_000_000

    def __post_init__(self) -> None:
        if isinstance(self.column, list):
            object.__setattr__(self, "column", tuple(self.column))
        check(bool(self.model), "model is empty")
        check(self.column != (), "column names no column")
        check(self.length is None or self.length >= 1, f"length is {self.length}", "at least 1")
        check(self.batch_size >= 1, f"batch_size is {self.batch_size}", "at least 1")
        check(self.cache_rows >= 0, f"cache_rows is {self.cache_rows}", "at least 0")

    def columns(self, name: str) -> tuple[str, ...]:
        """Its columns, or the column named like the feature."""
        return self.column if isinstance(self.column, tuple) else (self.column or name,)

    def tokens(self, name: str) -> tuple[str, ...]:
        """Its columns, whose text is read as written."""
        return self.columns(name)

    def build(self, name: str, others: Mapping[str, Transform]) -> "LanguageModelTransform":
        """Its transform."""
        return LanguageModelTransform(name, self)

    def fingerprint(self) -> str:
        """Hash of the model, because another model at the same path gives other values."""
        return self.local().digest()

    def local(self) -> LocalModel:
        """Files of the model.

        Raises:
            DataError: If the model is missing.
        """
        path = find_model(self.model, self.revision, fetch=self.fetch)
        return LocalModel(path, self.length, self.device, self.precision)


class LanguageModelTransform(StatelessTransform):
    """Transform that gets vectors from the cache, and loads the model only for texts that are not cached.

    Args:
        name: Name of the feature.
        feature: Its options.
    """

    def __init__(self, name: str, feature: LanguageModel) -> None:
        self.name = name
        self.feature = feature
        self.columns = feature.columns(name)
        self.digest = ""
        self.size = 0

    def finish(self) -> None:
        """Record the model's hash and width."""
        self.digest = self.feature.local().digest()
        self.size = len(self.vectors([""])[""])

    def field(self) -> Field:
        """A vector field."""
        return Field(name=self.name, kind="vector", size=self.size)

    def encode(self, block: Block) -> np.ndarray:
        """Vectors, [B, d] float32."""
        texts = self.texts(block)
        vectors = self.vectors(sorted({joined for joined in texts if joined}, key=len))
        result = np.zeros((len(texts), self.size), dtype=np.float32)
        for row, joined in enumerate(texts):
            if joined:
                result[row] = vectors[joined]
        return result

    def texts(self, block: Block) -> list[str]:
        """Joined columns of each row; empty if all are missing or blank."""
        columns = [text(keys(as_written(block, name), name)).to_pylist() for name in self.columns]
        rows = zip(*columns, strict=True)
        return [self.feature.separator.join(part.strip() for part in row if part and part.strip()) for row in rows]

    def vectors(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Vectors [d] of distinct texts, from the cache or the model.

        Raises:
            DataError: If the model is missing, differs from the one in training, or can't be loaded.
        """
        feature = self.feature
        cache = VectorCache(cache_directory() / "text" / f"{self.digest}.sqlite", feature.cache_rows)
        prompted = {plain: feature.prompt + plain for plain in texts}
        known = cache.get(list(prompted.values()))
        missing = [full for full in prompted.values() if full not in known]
        if missing:
            known |= self._embed(missing, cache)
        return {plain: known[full] for plain, full in prompted.items()}

    def _embed(self, texts: Sequence[str], cache: VectorCache) -> dict[str, np.ndarray]:
        local = self.feature.local()
        if local.digest() != self.digest:
            raise DataError(
                f"features.{self.name}: {local.path} holds another model than in training", "restore that model"
            )
        embedded: dict[str, np.ndarray] = {}
        reported = time.monotonic()
        for start in range(0, len(texts), PIECE):
            piece = texts[start : start + PIECE]
            vectors = local.embed(piece, self.feature.batch_size)
            cache.put(piece, vectors)
            embedded |= zip(piece, vectors, strict=True)
            if time.monotonic() - reported > PATIENCE:
                reported = time.monotonic()
                print(f"features.{self.name}: {len(embedded):,} of {len(texts):,} texts embedded", file=sys.stderr)
        return embedded

    def state(self) -> dict[str, Any]:
        """Hash and width of the model."""
        return {"model": self.digest, "size": self.size}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`; the model's files are read only when a text needs them."""
        self.digest, self.size = str(state["model"]), int(state["size"])
