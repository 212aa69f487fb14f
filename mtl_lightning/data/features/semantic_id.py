"""Semantic ids: prefixes of the codes of a vector, by residual k-means."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from typing_extensions import override

from mtl_lightning.data.arrow.columns import Block
from mtl_lightning.data.features.base import ColumnFeature, ColumnTransform, Transform, check, check_expression
from mtl_lightning.data.features.state_structure import SavedSemanticId
from mtl_lightning.data.features.vector import Vector, VectorTransform
from mtl_lightning.data.features.vocabulary import FIRST
from mtl_lightning.schema import PADDING, UNKNOWN, Field

ITERATIONS = 25
"""Largest number of iterations of k-means per level."""
MOST_PREFIXES = 1 << 62
"""Bound of the number of possible prefixes, which are integers of 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticId(ColumnFeature):
    """Ids of a vector's clusters, from coarse to fine: similar vectors share the first ids.

    Residual k-means assigns a code at each level to what the levels before left over. The prefixes of a row's codes,
    one for each level, are a sequence of ids, so that a new item shares embeddings with similar items.

    Clusters are fitted to distinct vectors of the training split: to all of them, or to a sample that depends on the
    vectors only, not on their order.

    Source: Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023 (codes of residuals); Singh et
    al., "Better Generalization with Semantic IDs: A Case Study in Ranking for Recommendations", RecSys 2024 (prefixes
    as features).

    Args:
        column: Raw column with vectors; None for the column called like the feature.
        expression: Expression over raw columns, read instead of a column.
        size: Number of floats of a vector.
        separator: Delimiter of numbers if the column holds text.
        levels: Number of codes.
        clusters: Number of clusters per level.
        sample: Largest number of distinct vectors that clusters are fitted to.
        seed: Seed of the first centres.

    Raises:
        DataError: If an option is out of range; while encoding, if a row has another number of values.

    Example:
        >>> import pyarrow as pa
        >>> rows = pa.table({"image": ["1 0", "1 1", "9 9", "9 8", None]})
        >>> ids = SemanticId(size=2, levels=2, clusters=2).build("image", {})
        >>> ids.observe(rows)
        >>> ids.finish()
        >>> encoded = ids.encode(rows)
        >>> (encoded[:, 0] == encoded[0, 0]).tolist(), encoded[4].tolist()
        ([True, True, False, False, False], [0, 0])
    """

    kind: ClassVar[str] = "semantic_id"
    makes: ClassVar[str] = "sequence"
    column: str | None = None
    expression: str | None = None
    size: int
    separator: str = " "
    levels: int = 3
    clusters: int = 256
    sample: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_expression(self.column, self.expression)
        check(self.size >= 1, f"size is {self.size}", "at least 1")
        check(bool(self.separator), "separator is empty")
        check(1 <= self.levels <= 16, f"levels is {self.levels}", "1 to 16")
        check(2 <= self.clusters <= 65_536, f"clusters is {self.clusters}", "2 to 65536")
        check(self.clusters**self.levels < MOST_PREFIXES, f"{self.clusters} clusters on {self.levels} levels", "fewer")
        check(self.sample >= self.clusters, f"sample is {self.sample}", f"at least {self.clusters}, one per cluster")
        check(0 <= self.seed < 2**32, f"seed is {self.seed}", "0 to 2**32 - 1")

    @override
    def build(self, name: str, others: Mapping[str, Transform]) -> "SemanticIdTransform":
        return SemanticIdTransform(name, self)


class SemanticIdTransform(ColumnTransform[SemanticId]):
    """Prefixes of codes by fitted centres.

    Args:
        name: Name of the feature.
        feature: Its options.
    """

    saved: ClassVar[Any] = SavedSemanticId

    def __init__(self, name: str, feature: SemanticId) -> None:
        super().__init__(name, feature)
        options = {"column": feature.column, "expression": feature.expression}
        self.vectors = VectorTransform(name, Vector(size=feature.size, separator=feature.separator, **options))
        self.vectors.reader = self.reader
        self.centres: list[np.ndarray] = []
        self.prefixes: list[np.ndarray] = []
        self._sample: dict[bytes, np.ndarray] = {}

    @override
    def observe(self, block: Block) -> None:
        """Keep the distinct vectors with the smallest hashes."""
        distinct = np.unique(self.vectors.encode(block), axis=0)
        for vector in distinct[distinct.any(axis=1)]:  # a missing vector is zero
            self._sample[hashlib.blake2b(vector.tobytes(), digest_size=8).digest()] = vector
        if len(self._sample) > 2 * self.feature.sample:
            self._shrink()

    def accumulators(self) -> list[Self]:
        """Return the transform itself, whose sample grows."""
        return [self]

    def record(self) -> None:
        """Forget the sample."""
        self._sample = {}

    def partial(self) -> dict[bytes, np.ndarray]:
        """Return the sample."""
        self._shrink()
        return self._sample

    def merge(self, partial: Mapping[bytes, np.ndarray]) -> None:
        """Keep the smallest hashes of both samples; the order of blocks does not matter."""
        self._sample |= partial
        self._shrink()

    def _shrink(self) -> None:
        self._sample = {key: self._sample[key] for key in sorted(self._sample)[: self.feature.sample]}

    @override
    def finish(self) -> None:
        """Fit the centres of each level to what the levels before left over, and number the prefixes."""
        self._shrink()
        shape = (len(self._sample), self.feature.size)
        residuals = np.array(list(self._sample.values()), dtype=np.float64).reshape(shape)
        self._sample = {}
        generator = np.random.default_rng(self.feature.seed)
        self.centres, self.prefixes = [], []
        prefix = np.zeros(len(residuals), dtype=np.int64)
        for _ in range(self.feature.levels):
            centres = fit_centres(residuals, self.feature.clusters, generator)
            codes = nearest(residuals, centres)
            residuals = residuals - centres[codes] if len(residuals) else residuals
            prefix = prefix * self.feature.clusters + codes
            self.centres.append(centres)
            self.prefixes.append(np.unique(prefix))

    @override
    def field(self) -> Field:
        size = FIRST + sum(map(len, self.prefixes))
        return Field(name=self.name, kind="sequence", size=size, table=self.name, length=self.feature.levels)

    @override
    def encode(self, block: Block) -> np.ndarray:
        """Encode a block as ids of prefixes, [B, levels] int32; a missing vector has none."""
        vectors = self.vectors.encode(block)
        known = vectors.any(axis=1)
        residuals = vectors.astype(np.float64)
        result = np.full((len(vectors), self.feature.levels), PADDING, dtype=np.int32)
        prefix, offset = np.zeros(len(vectors), dtype=np.int64), FIRST
        for level, (centres, prefixes) in enumerate(zip(self.centres, self.prefixes, strict=True)):
            codes = nearest(residuals, centres)
            if len(centres):
                residuals -= centres[codes]
            prefix = prefix * self.feature.clusters + codes
            place = np.minimum(np.searchsorted(prefixes, prefix), max(len(prefixes) - 1, 0))
            seen = prefixes[place] == prefix if len(prefixes) else np.zeros(len(vectors), dtype=bool)
            result[:, level] = np.where(known, np.where(seen, place + offset, UNKNOWN), PADDING)
            offset += len(prefixes)
        return result

    @override
    def state(self) -> dict[str, Any]:
        return {
            "centres": [part.tolist() for part in self.centres],
            "prefixes": [part.tolist() for part in self.prefixes],
        }

    @override
    def restore(self, state: Mapping[str, Any]) -> None:
        size, levels = self.feature.size, self.feature.levels
        counts = len(state["centres"]), len(state["prefixes"])
        message = f"features.{self.name} has {counts[0]} levels of centres and {counts[1]} of prefixes, not {levels}"
        check(counts == (levels, levels), message)
        widths = {len(centre) for part in state["centres"] for centre in part}
        check(widths <= {size}, f"features.{self.name} has centres of {sorted(widths)} numbers, not {size}")
        self.centres = [np.array(part, dtype=np.float64).reshape(-1, size) for part in state["centres"]]
        self.prefixes = [np.array(part, dtype=np.int64) for part in state["prefixes"]]


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the index of the nearest centre, the first of equally near ones, [N] int64; 0 without centres.

    Args:
        points: Points, [N, d] float64.
        centres: Centres, [K, d] float64.

    Example:
        >>> nearest(np.array([[0.2], [0.9]]), np.array([[0.0], [1.0]])).tolist()
        [0, 1]
    """
    result = np.zeros(len(points), dtype=np.int64)
    if len(centres):
        squares = np.square(centres).sum(axis=1)
        for start in range(0, len(points), 4096):
            part = points[start : start + 4096]
            result[start : start + 4096] = (squares - 2 * part @ centres.T).argmin(axis=1)
    return result


def fit_centres(points: np.ndarray, clusters: int, generator: np.random.Generator) -> np.ndarray:
    """Fit the centres of k-means, [K, d] float64, K at most the number of distinct points.

    Source: Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007; Lloyd, "Least Squares
    Quantization in PCM", 1982.

    Args:
        points: Points, [N, d] float64.
        clusters: Largest number of centres.
        generator: Random numbers of the first centres.

    Example:
        >>> points = np.array([[0.0], [0.2], [5.0], [5.2]])
        >>> np.sort(fit_centres(points, 2, np.random.default_rng(0)).ravel()).tolist()
        [0.1, 5.1]
    """
    if not len(points):
        return points
    chosen = [int(generator.integers(len(points)))]
    distance = np.square(points - points[chosen[0]]).sum(axis=1)
    while len(chosen) < clusters and distance.sum() > 0:
        chosen.append(int(np.searchsorted(np.cumsum(distance), generator.random() * distance.sum(), side="right")))
        chosen[-1] = min(chosen[-1], len(points) - 1)
        distance = np.minimum(distance, np.square(points - points[chosen[-1]]).sum(axis=1))
    centres = points[chosen]
    codes = nearest(points, centres)
    for _ in range(ITERATIONS):
        counts = np.bincount(codes, minlength=len(centres))
        sums = np.stack([np.bincount(codes, part, minlength=len(centres)) for part in points.T], axis=1)
        filled = counts > 0
        centres = np.where(filled[:, None], sums / np.maximum(counts, 1)[:, None], centres)
        moved = nearest(points, centres)
        if (moved == codes).all():
            break
        codes = moved
    return centres
