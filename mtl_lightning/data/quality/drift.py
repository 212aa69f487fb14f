"""Features whose values are others in validation or test than in training."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mtl_lightning.data.quality.findings import Finding
from mtl_lightning.data.quality.scores import psi
from mtl_lightning.schema import Field, Schema

MODERATE, LARGE = 0.1, 0.25
TOP = 20
"""Most frequent training values with a bin of their own; missing, unknown and all others have one each."""
DECILES = 10
ID_BINS = 2


def feature_values(schema: Schema, field: Field, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Encoded values of a feature, [N] or [N, L]; of a vector its norm, of a history its number of events."""
    if field.kind == "categorical":
        return parts["ids"][:, schema.id_columns[field.name]]
    if field.kind == "numeric":
        return parts["dense"][:, schema.dense_columns[field.name]]
    if field.kind == "history":
        return np.diff(parts[f"history/{field.name}"], axis=1)[:, 0].astype(np.float64)
    return parts[f"sequence/{field.name}"] if field.kind == "sequence" else norms(parts[f"vector/{field.name}"])


def norms(vectors: np.ndarray) -> np.ndarray:
    """Euclidean length of each vector, [N] float64.

    Example:
        >>> norms(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [5.0, 0.0]
    """
    squares = np.square(vectors, dtype=np.float64)
    found: np.ndarray = np.sqrt(squares.sum(axis=1))
    return found


def vector_facts(schema: Schema, samples: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """Per vector feature and split: the share of vectors that are missing (or zero), mean and deviation of the norm.

    The norm is that of the vectors that are there; None where there is none.
    """
    found: dict[str, dict[str, Any]] = {}
    for field in schema.of_kind("vector"):
        found[field.name] = {}
        for name, parts in samples.items():
            length = norms(parts[f"vector/{field.name}"])
            there = length[length > 0]
            found[field.name][name] = {
                "missing": float((length == 0).mean()) if len(length) else None,
                "norm": float(there.mean()) if len(there) else None,
                "deviation": float(there.std()) if len(there) else None,
            }
    return found


def bins(field: Field, train: np.ndarray, others: list[np.ndarray]) -> list[np.ndarray]:
    """Counts of training values and of others over the same bins, which training values decide.

    Numbers and norms of vectors fall into the deciles of training; ids are the 20 most frequent, missing, unknown, and
    all others.

    Example:
        >>> field = Field(name="x", kind="numeric")
        >>> [counts.tolist() for counts in bins(field, np.arange(10.0), [np.array([0.0, 100.0])])]
        [[1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    """
    if field.kind in ("numeric", "vector", "history"):
        edges = np.unique(np.quantile(train, np.arange(1, DECILES) / DECILES)) if len(train) else np.zeros(0)
        places = [np.searchsorted(edges, values, side="left") for values in (train, *others)]
        return [np.bincount(place, minlength=len(edges) + 1) for place in places]
    size = max([int(values.max(initial=0)) for values in (train, *others)]) + 1
    counts = [np.bincount(values.ravel(), minlength=size) for values in (train, *others)]
    special, common = np.arange(min(ID_BINS, size)), np.arange(ID_BINS, size)
    top = common[np.argsort(-counts[0][common], kind="stable")[:TOP]]
    kept = np.concatenate([special, top])
    return [np.append(count[kept], count.sum() - count[kept].sum()) for count in counts]


def drift(schema: Schema, samples: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, tuple[float, float]]]:
    """PSI of every feature from training to every other split, and what chance alone would give.

    Args:
        schema: Fitted schema.
        samples: Encoded rows by split.

    Returns:
        ``{feature: {split: (PSI, its mean if nothing had changed)}}``; splits without rows are left out.
    """
    found: dict[str, dict[str, tuple[float, float]]] = {}
    names = [name for name, parts in samples.items() if name != "train" and len(parts["mask"])]
    for field in schema.fields:
        values = {name: feature_values(schema, field, samples[name]) for name in ("train", *names)}
        before, *after = bins(field, values["train"], [values[name] for name in names])
        rows = len(values["train"])
        filled = int((before > 0).sum())
        found[field.name] = {
            name: (psi(before, now), (filled - 1) * (1 / max(rows, 1) + 1 / len(samples[name]["mask"])))
            for name, now in zip(names, after, strict=True)
        }
    return found


def drifted(scores: Mapping[str, Mapping[str, tuple[float, float]]]) -> Iterator[Finding]:
    """Findings of the scores: what is above a threshold by more than chance."""
    for feature, splits in scores.items():
        for split, (value, chance) in splits.items():
            if value - chance > MODERATE:
                large = value - chance > LARGE
                yield Finding(
                    level="warning" if large else "info",
                    name=f"drift:{feature}:{split}",
                    reason=f"values of {feature!r} in {split} are others than in train: PSI {value:.2f}",
                    hint="does its meaning change with time, or is it an id that grows?" if large else "",
                )
