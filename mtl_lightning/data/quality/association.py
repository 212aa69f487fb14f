"""Labels of several classes beside each other: Cramér's V."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mtl_lightning.schema import Schema, Task

LABELS = 32
"""Most frequent labels of a multilabel task that are looked at."""


def cramers_v(counts: np.ndarray) -> float | None:
    """Cramér's V of a table of counts, [R, C], corrected for what chance alone gives; None where one side is constant.

    V = √(φ² / (min(r', c') − 1)), φ² = max(0, χ²/n − (r−1)(c−1)/(n−1)), r' = r − (r−1)²/(n−1) and c' likewise, over
    the rows and columns that occur.

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
    """Cramér's V of every two tasks of which one has classes or several labels.

    Classes and steps count as they are, other labels by whether they are above their mean, and of several labels the
    one counts that goes most with the other task.

    Args:
        schema: Fitted schema.
        parts: Encoded training rows.

    Returns:
        Per pair ``tasks``, ``rows`` where both are known, ``association`` (None where it isn't defined) and ``label``:
        per task the number of the label that counted, or None.
    """
    found = []
    for j, second in enumerate(schema.tasks):
        for first in schema.tasks[:j]:
            if first.traits.scalar and second.traits.scalar:
                continue
            known = parts["mask"][:, schema.task_index[first.name]] & parts["mask"][:, schema.task_index[second.name]]
            best: tuple[float | None, list[int | None]] = (None, [None, None])
            for one, a in _codes(schema, first, parts, known):
                for other, b in _codes(schema, second, parts, known):
                    width = int(b.max(initial=0)) + 1
                    size = (int(a.max(initial=0)) + 1) * width
                    value = cramers_v(np.bincount(a * width + b, minlength=size).reshape(-1, width))
                    if value is not None and (best[0] is None or value > best[0]):
                        best = value, [one, other]
            found.append(
                {
                    "tasks": [first.name, second.name],
                    "rows": int(known.sum()),
                    "association": best[0],
                    "label": best[1],
                }
            )
    return found


def _codes(
    schema: Schema, task: Task, parts: dict[str, np.ndarray], known: np.ndarray
) -> Iterator[tuple[int | None, np.ndarray]]:
    """A task's labels as small integers; of several labels each, with its number."""
    labels = parts["labels"][known, schema.label_slices[task.name]]
    if task.traits.several:
        for label in np.argsort(-labels.sum(axis=0), kind="stable")[:LABELS]:
            yield int(label), (labels[:, label] > 0).astype(np.int64)
    elif task.traits.fits_classes or task.traits.event_probability:
        # Only classes that occur: their number may be large.
        yield None, np.unique(labels[:, 0], return_inverse=True)[1].astype(np.int64)
    else:
        mean = labels[:, 0].mean(dtype=np.float64) if len(labels) else 0.0
        yield None, (labels[:, 0] > mean).astype(np.int64)
