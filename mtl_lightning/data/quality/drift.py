"""Drift: features whose values in validation or test differ from training."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mtl_lightning.data.quality.findings import Finding
from mtl_lightning.data.quality.scores import psi
from mtl_lightning.schema import Field, Schema

MODERATE, LARGE = 0.1, 0.25
"""PSI above which a drift is reported, and above which it is a warning."""

TOP = 20
"""Number of values with a bin of their own, the most frequent ones; missing, unknown and other values have one each."""

DECILES = 10
"""Number of bins of numbers."""

ID_BINS = 2
"""Number of bins of missing and unknown ids."""


def feature_values(schema: Schema, field: Field, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the encoded values of a feature, [N] or [N, L]; for vectors their norms, [N]."""
    if field.kind == "categorical":
        return parts["ids"][:, schema.id_columns[field.name]]
    if field.kind == "numeric":
        return parts["dense"][:, schema.dense_columns[field.name]]
    return parts[f"sequence/{field.name}"] if field.kind == "sequence" else norms(parts[f"vector/{field.name}"])


def norms(vectors: np.ndarray) -> np.ndarray:
    """Return the Euclidean norm of each vector [N, d], [N] float64.

    Example:
        >>> norms(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [5.0, 0.0]
    """
    squares = np.square(vectors, dtype=np.float64)
    lengths: np.ndarray = np.sqrt(squares.sum(axis=1))
    return lengths


def vector_facts(schema: Schema, samples: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """Return facts on the vectors of each feature and split.

    Args:
        schema: Fitted schema.
        samples: Encoded rows by split.

    Returns:
        Per feature and split:

        - ``missing``: share of vectors that are missing or zero;
        - ``norm`` and ``deviation``: mean and standard deviation of the other vectors' norms, or None without any.
    """
    facts: dict[str, dict[str, Any]] = {}
    for field in schema.of_kind("vector"):
        facts[field.name] = {}
        for name, parts in samples.items():
            length = norms(parts[f"vector/{field.name}"])
            present = length[length > 0]
            facts[field.name][name] = {
                "missing": float((length == 0).mean()) if len(length) else None,
                "norm": float(present.mean()) if len(present) else None,
                "deviation": float(present.std()) if len(present) else None,
            }
    return facts


def bins(field: Field, train: np.ndarray, others: list[np.ndarray]) -> list[np.ndarray]:
    """Count values in bins that training values define.

    Bins of numbers and of norms are the deciles of training. Bins of ids are the 20 most frequent ids, missing, unknown
    and other ids.

    Args:
        field: Field of the values.
        train: Values of the training rows, [N] or [N, L].
        others: Values of other splits.

    Returns:
        Counts per bin of the training rows and of each other split.

    Example:
        >>> field = Field(name="x", kind="numeric")
        >>> [counts.tolist() for counts in bins(field, np.arange(10.0), [np.array([0.0, 100.0])])]
        [[1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    """
    if field.kind in ("numeric", "vector"):
        edges = np.unique(np.quantile(train, np.arange(1, DECILES) / DECILES)) if len(train) else np.zeros(0)
        places = [np.searchsorted(edges, values, side="left") for values in (train, *others)]
        return [np.bincount(place, minlength=len(edges) + 1) for place in places]
    size = max([int(values.max(initial=0)) for values in (train, *others)]) + 1
    counts = [np.bincount(values.ravel(), minlength=size) for values in (train, *others)]
    special, common = np.arange(min(ID_BINS, size)), np.arange(ID_BINS, size)
    top = common[np.argsort(-counts[0][common], kind="stable")[:TOP]]
    separate = np.concatenate([special, top])
    return [np.append(count[separate], count.sum() - count[separate].sum()) for count in counts]


def drift(schema: Schema, samples: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Measure the population stability index (PSI) of every feature from training to every other split.

    Histories are left out: they are longer in later splits by construction.

    Args:
        schema: Fitted schema.
        samples: Encoded rows by split.

    Returns:
        Per feature and split, the PSI and its expectation without drift; splits without rows are left out.
    """
    scores: dict[str, dict[str, tuple[float, float]]] = {}
    names = [name for name, parts in samples.items() if name != "train" and len(parts["mask"])]
    for field in schema.fields:
        if field.kind == "history":
            continue
        values = {name: feature_values(schema, field, samples[name]) for name in ("train", *names)}
        before, *after = bins(field, values["train"], [values[name] for name in names])
        rows = len(values["train"])
        filled = int((before > 0).sum())
        scores[field.name] = {
            name: (psi(before, now), (filled - 1) * (1 / max(rows, 1) + 1 / len(samples[name]["mask"])))
            for name, now in zip(names, after, strict=True)
        }
    return scores


def drift_findings(scores: Mapping[str, Mapping[str, tuple[float, float]]]) -> Iterator[Finding]:
    """Yield a finding for each score of :func:`drift` that exceeds its expectation by a threshold."""
    for feature, splits in scores.items():
        for split, (value, chance) in splits.items():
            if value - chance > MODERATE:
                large = value - chance > LARGE
                yield Finding(
                    level="warning" if large else "info",
                    name=f"drift:{feature}:{split}",
                    reason=f"values of {feature!r} in {split} differ from train: PSI {value:.2f}",
                    hint="check for a change of its meaning, and for an id that grows with time" if large else "",
                )
