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
from mtl_lightning_text.model import LocalModel, find

PIECE = 512
"""Texts after which vectors are kept, so that an interrupted preparation goes on where it was."""
PATIENCE = 10.0
"""Seconds between two lines about progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel(Feature):
    """Text as the vector that a frozen language model makes of it; a row without text is zeros.

    Pooling and normalisation are the model's own (a sentence-transformers model says them; of a plain transformers
    model the tokens' mean is taken). Vectors are kept on disk, by the hash of model and text.

    Source: Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019.

    Args:
        model: A directory, ``package:name/folder`` for one inside an installed package, or an id of the Hugging Face
            hub.
        column: Raw column, or several that are joined in this order; the feature's name if None.
        separator: What stands between joined columns.
        prompt: What the model wants before each text (``"query: "``, say).
        length: Tokens seen of a text; None for as many as the model's configuration says.
        batch_size: Texts at a time.
        device: Where the model runs; None for the best there is.
        precision: Of the model's weights; ``bfloat16`` takes about half the time where the processor knows it, and
            moves values by about 0.001.
        revision: Branch, tag or commit of the hub.
        fetch: Download a model of the hub that isn't here yet; otherwise nothing uses the network.
        cache_rows: Vectors kept on disk at most; 0 for none.

    Shapes: [B, d] float32, d the width of the model.

    Raises:
        DataError: If an option is out of range; when used, if the model isn't there or isn't the one of training.

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
        """Its columns, or the one called like the feature."""
        return self.column if isinstance(self.column, tuple) else (self.column or name,)

    def tokens(self, name: str) -> tuple[str, ...]:
        """Its columns: text stays as it is written."""
        return self.columns(name)

    def build(self, name: str, others: Mapping[str, Transform]) -> "LanguageModelTransform":
        """Its transform."""
        return LanguageModelTransform(name, self)

    def fingerprint(self) -> str:
        """The model's hash: another model at the same path gives other values."""
        return self.local().digest()

    def local(self) -> LocalModel:
        """The model's files."""
        path = find(self.model, self.revision, fetch=self.fetch)
        return LocalModel(path, self.length, self.device, self.precision)


class LanguageModelTransform(StatelessTransform):
    """Looks vectors up, and embeds what isn't there; the model is loaded for that alone.

    Args:
        name: The feature's name.
        feature: Its options.
    """

    def __init__(self, name: str, feature: LanguageModel) -> None:
        self.name = name
        self.feature = feature
        self.columns = feature.columns(name)
        self.digest = ""
        self.size = 0

    def finish(self) -> None:
        """Settle which model it is, and how wide."""
        self.digest = self.feature.local().digest()
        self.size = len(self.vectors([""])[""])

    def field(self) -> Field:
        """A vector field."""
        return Field(name=self.name, kind="vector", size=self.size)

    def encode(self, block: Block) -> np.ndarray:
        """Vectors, [B, d] float32."""
        texts = self.texts(block)
        found = self.vectors(sorted({one for one in texts if one}, key=len))
        result = np.zeros((len(texts), self.size), dtype=np.float32)
        for row, one in enumerate(texts):
            if one:
                result[row] = found[one]
        return result

    def texts(self, block: Block) -> list[str]:
        """The joined columns, row by row; empty where all are missing or blank."""
        columns = [text(keys(as_written(block, name), name)).to_pylist() for name in self.columns]
        rows = zip(*columns, strict=True)
        return [self.feature.separator.join(part.strip() for part in row if part and part.strip()) for row in rows]

    def vectors(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Vectors of different texts, from the cache or from the model."""
        feature = self.feature
        cache = VectorCache(cache_directory() / "text" / f"{self.digest}.sqlite", feature.cache_rows)
        full = {one: feature.prompt + one for one in texts}
        known = cache.get(list(full.values()))
        missing = [one for one in full.values() if one not in known]
        if missing:
            known |= self._embed(missing, cache)
        return {one: known[whole] for one, whole in full.items()}

    def _embed(self, texts: Sequence[str], cache: VectorCache) -> dict[str, np.ndarray]:
        local = self.feature.local()
        if local.digest() != self.digest:
            raise DataError(
                f"features.{self.name}: {local.path} holds another model than in training", "bring that one back"
            )
        found: dict[str, np.ndarray] = {}
        said = time.monotonic()
        for start in range(0, len(texts), PIECE):
            piece = texts[start : start + PIECE]
            vectors = local.embed(piece, self.feature.batch_size)
            cache.put(piece, vectors)
            found |= zip(piece, vectors, strict=True)
            if time.monotonic() - said > PATIENCE:
                said = time.monotonic()
                print(f"features.{self.name}: {len(found):,} of {len(texts):,} texts embedded", file=sys.stderr)
        return found

    def state(self) -> dict[str, Any]:
        """The model's hash, and its width."""
        return {"model": self.digest, "size": self.size}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`; the model is looked at when a text needs it."""
        self.digest, self.size = str(state["model"]), int(state["size"])
