"""Features that alone tell a label."""

from collections.abc import Iterator

import numpy as np

from mtl_lightning.data.preparation.transforms import Transforms
from mtl_lightning.data.quality.findings import Finding
from mtl_lightning.data.quality.rows import distinct
from mtl_lightning.data.quality.scores import FOLDS, auc, encoded_auc
from mtl_lightning.schema import PADDING, Schema, Task

SERIOUS, WARNING = 0.98, 0.95
FEWEST = 30
"""Rows with and without a label below which nothing is said."""
CLASSES = 8
"""Most frequent classes that are looked at, unless told otherwise."""
BINS = 256


def leak_scores(schema: Schema, parts: dict[str, np.ndarray], classes: int = CLASSES) -> dict[str, dict[str, float]]:
    """How well each feature alone tells each task's label, as an AUC of at least 0.5.

    Categorical values and the entries of sequences are target-encoded out of fold, with missing and unknown as values;
    numbers are taken by their rank in both directions, and their 256 quantiles also as values, so that a filled null or
    a middle that stands out is seen; sequences also by their length, histories by
    their length alone. Labels that are no yes or no are asked as such:
    above the median, or each of the most frequent classes against the rest (mean by rows).

    Args:
        schema: Fitted schema.
        parts: Encoded training rows.
        classes: Most frequent classes that are asked.

    Returns:
        ``{feature: {task: AUC}}``; tasks with too few rows of a kind are left out.
    """
    first = distinct(parts)
    if len(first) * 4 >= len(parts["mask"]):  # copies of a row in several folds would tell each other's labels
        parts = {name: part[first] for name, part in parts.items()}
    fold = np.random.default_rng(0).integers(0, FOLDS, len(parts["mask"]))
    asked = [(task.name, *each) for task in schema.tasks for each in _questions(schema, task, parts, classes)]
    found: dict[str, dict[str, float]] = {}
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
        elif field.kind == "history":
            codes = np.diff(parts[f"history/{field.name}"], axis=1)[:, 0]
            ranks = [codes]
        else:
            continue
        codes = _dense_codes(codes)
        totals: dict[str, list[tuple[float, float]]] = {}
        for task, known, label, weight in asked:
            scores = [encoded_auc(codes, label, fold, known)]
            for rank in ranks:
                rows = np.bincount(rank[known])
                one = auc(np.arange(len(rows)), np.bincount(rank[known], weights=label[known]), rows)
                scores += [one, 1 - one]
            totals.setdefault(task, []).append((float(np.nanmax([*scores, 0.5])), weight))
        found[field.name] = {
            task: float(np.average([value for value, _ in each], weights=[weight for _, weight in each]))
            for task, each in totals.items()
        }
    return found


def leaks(scores: dict[str, dict[str, float]], transforms: Transforms) -> Iterator[Finding]:
    """Findings of the scores, and of features that read a part of a label: one for each feature and task."""
    parts = {finding.name: finding for finding in label_parts(transforms)}
    yield from parts.values()
    yield from (finding for finding in _telling(scores) if finding.name not in parts)


def _telling(scores: dict[str, dict[str, float]]) -> Iterator[Finding]:
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
    """Findings of features that read a column of which a label is made, however little they tell of it."""
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


def _questions(
    schema: Schema, task: Task, parts: dict[str, np.ndarray], most: int
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Known rows, a label 0 or 1 and its weight, for each question that a task's labels answer."""
    known = parts["mask"][:, schema.task_index[task.name]]
    labels = parts["labels"][:, schema.label_slices[task.name]]
    if not known.any():
        return
    if task.traits.several:
        counts = labels[known].sum(axis=0)
        answers = [labels[:, k] > 0 for k in np.argsort(-counts, kind="stable")[:most]]
    elif not task.traits.scalar:
        classes, counts = np.unique(labels[known, 0], return_counts=True)
        answers = [labels[:, 0] == k for k in classes[np.argsort(-counts, kind="stable")[:most]]]
    elif task.traits.event_probability:
        answers = [labels[:, 0] > 0]
    else:
        answers = [labels[:, 0] > np.median(labels[known, 0])]
    for answer in answers:
        yes = int(answer[known].sum())
        if FEWEST <= yes <= int(known.sum()) - FEWEST:
            yield known, answer.astype(np.float64), float(yes)


def _quantiles(rank: np.ndarray) -> np.ndarray:
    """Codes of numbers by their dense rank: one for each value that is frequent, else one for each quantile."""
    counts = np.bincount(rank)
    before = np.cumsum(counts) - counts
    quantile = before * BINS // max(len(rank), 1)
    frequent = counts * BINS > len(rank)
    return np.asarray(np.where(frequent, BINS + np.cumsum(frequent), quantile)[rank])


def _dense_codes(codes: np.ndarray) -> np.ndarray:
    """The same codes without gaps where they are far more than the rows."""
    if int(codes.max(initial=0)) <= 4 * codes.size:
        return codes
    return np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
