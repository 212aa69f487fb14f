"""Summary of encoded rows: counts of rows, labels and unknown values."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_lightning.data.preparation.split import SPLITS
from mtl_lightning.schema import PADDING, UNKNOWN, Schema


class Summary:
    """Counts of rows, labels and unknown values over blocks.

    Args:
        schema: Fitted schema.
        before: Number of ids per field in the run to warm-start from, or None; larger ids are new.
    """

    def __init__(self, schema: Schema, before: Mapping[str, int] | None = None) -> None:
        self.schema = schema
        self.before = before
        self.new = {split: dict.fromkeys(before or (), 0) for split in SPLITS}
        tasks = len(schema.tasks)
        self.rows = dict.fromkeys(SPLITS, 0)
        self.known = {split: np.zeros(tasks, dtype=np.int64) for split in SPLITS}
        self.sums = {split: np.zeros(tasks) for split in SPLITS}
        self.lowest = np.full(tasks, np.inf)
        self.unknown: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}

    def add(self, split: str, parts: Mapping[str, np.ndarray]) -> None:
        """Count an encoded block of a split.

        Args:
            split: Name of the split.
            parts: Parts of the Store, each with B rows.
        """
        known, sums, unknown = self.known[split], self.sums[split], self.unknown[split]
        self.rows[split] += len(parts["mask"])
        known += parts["mask"].sum(axis=0)
        for index, columns in enumerate(self.schema.label_slices.values()):
            labels = parts["labels"][parts["mask"][:, index], columns]
            sums[index] += labels.mean(axis=1, dtype=np.float64).sum() if len(labels) else 0.0
            self.lowest[index] = min(self.lowest[index], labels.min(initial=np.inf))
        missing, out_of_vocabulary = (_per_column(parts["ids"], value) for value in (PADDING, UNKNOWN))
        for field in self.schema.fields:
            if field.kind == "categorical":
                column = self.schema.id_columns[field.name]
                ids = parts["ids"][:, column]
                absent, strange = int(missing[column]), int(out_of_vocabulary[column])
            elif field.kind == "sequence":
                ids = parts[f"sequence/{field.name}"]
                absent, strange = int(np.count_nonzero(ids == PADDING)), int(np.count_nonzero(ids == UNKNOWN))
            else:
                continue
            if self.before is not None:
                fresh = ids >= self.before[field.name]
                self.new[split][field.name] += int((fresh if fresh.ndim == 1 else fresh.any(axis=1)).sum())
            counts = np.array([strange, ids.size - absent, absent])
            unknown[field.name] = unknown.get(field.name, np.zeros(3, dtype=np.int64)) + counts

    def merge(self, other: "Summary") -> None:
        """Add the counts of later blocks; sums of labels depend on the order."""
        for split in SPLITS:
            self.rows[split] += other.rows[split]
            self.known[split] += other.known[split]
            self.sums[split] += other.sums[split]
            for name, counts in other.unknown[split].items():
                self.unknown[split][name] = self.unknown[split].get(name, 0) + counts
            for name, count in other.new[split].items():
                self.new[split][name] += count
        self.lowest = np.minimum(self.lowest, other.lowest)

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, for JSON.

        - ``rows``: number of rows per split.
        - ``known``: number of known labels per split and task.
        - ``label``: mean label per split and task, which is the rate of a binary task; None without known labels.
        - ``lowest``: smallest label per task, over all splits; None without known labels.
        - ``out_of_vocabulary``: share of unknown values in values that are not missing, per split and field.
        - ``new``: number of rows with new ids per split and field, if there is an earlier run.
        """
        names = [task.name for task in self.schema.tasks]
        new = {} if self.before is None else {"new": self.new}
        return {
            **new,
            "rows": dict(self.rows),
            "known": {split: dict(zip(names, map(int, known), strict=True)) for split, known in self.known.items()},
            "label": {
                split: {
                    name: float(total / count) if count else None
                    for name, total, count in zip(names, self.sums[split], self.known[split], strict=True)
                }
                for split in self.rows
            },
            "lowest": {
                name: float(value) if np.isfinite(value) else None
                for name, value in zip(names, self.lowest, strict=True)
            },
            "out_of_vocabulary": {
                split: {name: float(counts[0] / counts[1]) if counts[1] else 0.0 for name, counts in fields.items()}
                for split, fields in self.unknown.items()
            },
        }


def _per_column(matrix: np.ndarray, value: int) -> np.ndarray:
    """Return the number of occurrences of a value in each column of a matrix [B, F], [F], in one pass over memory."""
    columns = matrix.shape[1]
    places = np.flatnonzero(matrix.ravel() == value)
    return np.bincount(places % columns if columns else places, minlength=columns)
