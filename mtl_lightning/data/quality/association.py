"""Association of labels with several classes: Cramér's V."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mtl_lightning.schema import Schema, Task

LABELS = 32
"""Number of a multilabel task's labels that are measured, the most frequent ones."""


def cramers_v(counts: np.ndarray) -> float | None:
    """Return Cramér's V of a table of counts, corrected for chance.

    V = √(φ² / (min(r', c') − 1)) with φ² = max(0, χ²/n − (r−1)(c−1)/(n−1)) and r' = r − (r−1)²/(n−1). c' is computed
    like r'. Only rows and columns that occur count.

    Args:
        counts: Counts, [R, C].

    Returns:
        Association between 0 and 1; None if all counts are in one row or column.

    Source:
        W. Bergsma, "A bias-correction for Cramér's V and Tschuprow's T", Journal of the Korean Statistical Society,
        2013.

    Example:
        >>> cramers_v(np.array([[50, 0], [0, 50]])), cramers_v(np.array([[25, 25], [25, 25]]))
        (1.0, 0.0)
    """
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)].astype(np.float64)
    total, (rows, columns) = counts.sum(), counts.shape
    if min(rows, columns) < 2 or total < 2:
        return None
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / total
    phi = (np.square(counts - expected) / expected).sum() / total - (rows - 1) * (columns - 1) / (total - 1)
    least = min(size - (size - 1) ** 2 / (total - 1) for size in (rows, columns)) - 1
    return float(np.sqrt(np.clip(phi / least, 0, 1))) if least > 0 else None


def associations(schema: Schema, parts: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Measure Cramér's V of every two tasks of which one has classes or several labels.

    Classes and steps count as they are. Other labels count by whether they are above their mean. Of several labels, the
    label with the strongest association counts.

    Args:
        schema: Fitted schema.
        parts: Encoded training rows.

    Returns:
        A record per pair, with

        - ``tasks``: the names of the two tasks;
        - ``rows``: number of rows where both labels are known;
        - ``association``: Cramér's V, or None where it is undefined;
        - ``label``: per task the number of the label that counted, or None.
    """
    records = []
    for j, second in enumerate(schema.tasks):
        for first in schema.tasks[:j]:
            if first.traits.scalar and second.traits.scalar:
                continue
            known = parts["mask"][:, schema.task_index[first.name]] & parts["mask"][:, schema.task_index[second.name]]
            best: tuple[float | None, list[int | None]] = (None, [None, None])
            for number, a in _codes(schema, first, parts, known):
                for other, b in _codes(schema, second, parts, known):
                    width = int(b.max(initial=0)) + 1
                    size = (int(a.max(initial=0)) + 1) * width
                    value = cramers_v(np.bincount(a * width + b, minlength=size).reshape(-1, width))
                    if value is not None and (best[0] is None or value > best[0]):
                        best = value, [number, other]
            records.append(
                {
                    "tasks": [first.name, second.name],
                    "rows": int(known.sum()),
                    "association": best[0],
                    "label": best[1],
                }
            )
    return records


def _codes(
    schema: Schema, task: Task, parts: dict[str, np.ndarray], known: np.ndarray
) -> Iterator[tuple[int | None, np.ndarray]]:
    """Yield a task's labels as small integers; several labels separately, each with its number."""
    labels = parts["labels"][known, schema.label_slices[task.name]]
    if task.traits.several:
        for label in np.argsort(-labels.sum(axis=0), kind="stable")[:LABELS]:
            yield int(label), (labels[:, label] > 0).astype(np.int64)
    elif task.traits.fits_classes or task.traits.hard:
        # Only classes that occur: their number may be large.
        yield None, np.unique(labels[:, 0], return_inverse=True)[1].astype(np.int64)
    else:
        mean = labels[:, 0].mean(dtype=np.float64) if len(labels) else 0.0
        yield None, (labels[:, 0] > mean).astype(np.int64)
