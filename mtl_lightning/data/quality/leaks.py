"""Leaks: features that predict a label alone."""

from collections.abc import Iterator

import numpy as np

from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.quality.findings import Finding
from mtl_lightning.data.quality.rows import distinct
from mtl_lightning.data.quality.scores import FOLDS, auc, encoded_auc
from mtl_lightning.data.store.events import lengths
from mtl_lightning.schema import PADDING, Schema, Task

SERIOUS, WARNING = 0.98, 0.95
"""AUC above which a leak is serious, and above which it is a warning."""

FEWEST = 30
"""Smallest number of rows with and without a label for a measurement."""

CLASSES = 8
"""Number of classes that are measured by default, the most frequent ones."""

BINS = 256
"""Number of quantiles of numbers that count as values."""


def leak_scores(schema: Schema, parts: dict[str, np.ndarray], classes: int = CLASSES) -> dict[str, dict[str, float]]:
    """Measure how well each feature alone predicts each task's label, as an AUC of at least 0.5.

    - Categorical values and the entries of sequences are target-encoded out of fold. Missing and unknown are values.
    - Numbers are ranked in both directions. Their 256 quantiles are values as well, so that a filled null or an
      unusual middle is found.
    - Sequences are also ranked by their length, and histories by their length alone.
    - Non-binary labels are binarised: above the median, or each of the most frequent classes against the rest (mean by
      rows).

    Args:
        schema: Fitted schema.
        parts: Encoded training rows.
        classes: Number of classes that are measured, the most frequent ones.

    Returns:
        AUC per feature and task; tasks with too few rows are left out.
    """
    first = distinct(parts)
    if len(first) * 4 >= len(parts["mask"]):  # copies of a row in several folds would reveal each other's labels
        parts = {name: part[first] for name, part in parts.items()}
    fold = np.random.default_rng(0).integers(0, FOLDS, len(parts["mask"]))
    targets = [(task.name, *target) for task in schema.tasks for target in binary_targets(schema, task, parts, classes)]
    aucs: dict[str, dict[str, float]] = {}
    for field in schema.fields:
        if field.kind == "categorical":
            codes, ranks = parts["ids"][:, schema.id_columns[field.name]], []
        elif field.kind == "numeric":
            values = parts["dense"][:, schema.dense_columns[field.name]]
            ranks = [np.unique(values, return_inverse=True)[1]]
            codes = _quantiles(ranks[0])
        elif field.kind == "sequence":
            codes = parts[f"sequence/{field.name}"]
            ranks = [(codes != PADDING).sum(axis=1)]
        elif f"listed/{field.name}" in parts:
            listed = parts[f"listed/{field.name}"]
            codes = listed[:, 1 :: len(field.steps)]  # main ids
            ranks = [listed[:, 0]]
        elif field.kind == "history":
            codes = lengths(parts[f"history/{field.name}"])
            ranks = [codes]
        else:
            continue
        codes = _dense_codes(codes)
        totals: dict[str, list[tuple[float, float]]] = {}
        for task, known, label, weight in targets:
            scores = [encoded_auc(codes, label, fold, known)]
            for rank in ranks:
                rows = np.bincount(rank[known])
                ranked = auc(np.arange(len(rows)), np.bincount(rank[known], weights=label[known]), rows)
                scores += [ranked, 1 - ranked]
            totals.setdefault(task, []).append((float(np.nanmax([*scores, 0.5])), weight))
        aucs[field.name] = {
            task: float(np.average([value for value, _ in values], weights=[weight for _, weight in values]))
            for task, values in totals.items()
        }
    return aucs


def leaks(scores: dict[str, dict[str, float]], transforms: Transforms) -> Iterator[Finding]:
    """Yield findings of high scores, and of features that read a part of a label; one per feature and task."""
    parts = {finding.name: finding for finding in label_parts(transforms)}
    yield from parts.values()
    yield from (finding for finding in _high_scores(scores) if finding.name not in parts)


def _high_scores(scores: dict[str, dict[str, float]]) -> Iterator[Finding]:
    for feature, tasks in scores.items():
        for task, value in tasks.items():
            if value > WARNING:
                yield Finding(
                    level="serious" if value > SERIOUS else "warning",
                    name=f"leak:{feature}:{task}",
                    reason=f"the feature {feature!r} alone predicts {task!r} with AUC {value:.3f}",
                    hint=f"if it is known only after the event, remove it: features.{feature}=null",
                )


def label_parts(transforms: Transforms) -> Iterator[Finding]:
    """Yield a finding for each feature that reads a column of a label, whatever its score."""
    for feature, columns in transforms.feature_columns.items():
        for task, label in transforms.labels.items():
            shared = [column for column in columns if column in label.label.columns]
            if shared:
                yield Finding(
                    level="serious",
                    name=f"leak:{feature}:{task}",
                    reason=f"the feature {feature!r} reads {shared[0]!r}, of which the label of {task!r} is made: "
                    f"{label.task.label}",
                    hint=f"if it is known only after the event, remove it: features.{feature}=null",
                )


def binary_targets(
    schema: Schema, task: Task, parts: dict[str, np.ndarray], most: int
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yield known rows [N], labels 0 or 1 [N] and a weight, for each binary target of a task."""
    known = parts["mask"][:, schema.task_index[task.name]]
    labels = parts["labels"][:, schema.label_slices[task.name]]
    if not known.any():
        return
    if task.traits.several:
        counts = labels[known].sum(axis=0)
        targets = [labels[:, k] > 0 for k in np.argsort(-counts, kind="stable")[:most]]
    elif not task.traits.scalar:
        classes, counts = np.unique(labels[known, 0], return_counts=True)
        targets = [labels[:, 0] == k for k in classes[np.argsort(-counts, kind="stable")[:most]]]
    elif task.label_range.whole and task.label_range.highest == 1:
        targets = [labels[:, 0] > 0]
    else:
        targets = [labels[:, 0] > np.median(labels[known, 0])]
    for target in targets:
        positive = int(target[known].sum())
        if FEWEST <= positive <= int(known.sum()) - FEWEST:
            yield known, target.astype(np.float64), float(positive)


def _quantiles(rank: np.ndarray) -> np.ndarray:
    """Return codes of numbers by their dense rank: a code per frequent value, and per quantile of other values."""
    counts = np.bincount(rank)
    before = np.cumsum(counts) - counts
    quantile = before * BINS // max(len(rank), 1)
    frequent = counts * BINS > len(rank)
    return np.asarray(np.where(frequent, BINS + np.cumsum(frequent), quantile)[rank])


def _dense_codes(codes: np.ndarray) -> np.ndarray:
    """Return codes without gaps if the largest code is far larger than the number of rows."""
    if int(codes.max(initial=0)) <= 4 * codes.size:
        return codes
    return np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
