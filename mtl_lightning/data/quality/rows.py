"""Rows of a Store: a sample in bounded memory, and repeated rows."""

from typing import Any

import numpy as np

from mtl_lightning.data.store.store import Store

RANGES = 64
"""Number of ranges of rows in a sample, which are spread over the whole log."""

ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)
"""Multipliers of the hash of rows, as in SplitMix64."""


def sample(store: Store, most: int) -> dict[str, np.ndarray]:
    """Read all rows, or about ``most`` of them in ranges that are spread evenly over the Store.

    Args:
        store: Encoded rows.
        most: Largest number of rows.

    Returns:
        Parts of the Store, as arrays in memory.
    """
    count = len(store)
    if count <= most:
        ranges = [(0, count)]
    else:
        length, offsets = most // RANGES, np.random.default_rng(0).random(RANGES)
        starts = [int((i + offset) * (count - length) / RANGES) for i, offset in enumerate(offsets)]
        ranges = [(start, start + length) for start in starts]
    return {name: part.numpy() for name, part in store.read(ranges).expanded().parts.items()}


def row_hash(parts: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    """Return a hash per row, [N] uint64, that depends on every value of some parts.

    Args:
        parts: Parts of the Store, with N rows each.
        names: Names of the parts to hash.

    Example:
        >>> first, second, third = row_hash({"ids": np.array([[1, 2], [1, 2], [2, 1]], dtype=np.int32)}, ["ids"])
        >>> bool(first == second), bool(first == third)
        (True, False)
    """
    rows = len(next(iter(parts.values())))
    result = np.zeros(rows, dtype=np.uint64)
    for name in names:
        part = parts[name].reshape(rows, -1)
        words = part.view(np.uint32) if part.dtype.itemsize == 4 else part
        for column in words.T:
            result = (result ^ column.astype(np.uint64)) * np.uint64(ODD[0])
            result ^= result >> np.uint64(29)
            result *= np.uint64(ODD[1])
            result ^= result >> np.uint64(32)
    return result


def features_of(parts: dict[str, np.ndarray]) -> list[str]:
    """Return the names of the parts that hold features."""
    return sorted(
        name
        for name in parts
        if name in ("ids", "dense") or name.startswith(("sequence/", "vector/", "history/", "listed/"))
    )


def distinct(parts: dict[str, np.ndarray]) -> np.ndarray:
    """Return the first row of each group of rows with equal features and labels, ascending."""
    _, first = np.unique(row_hash(parts, [*features_of(parts), "labels", "mask"]), return_index=True)
    return np.sort(first)


def count_repeated(parts: dict[str, np.ndarray], tasks: list[tuple[str, slice, int]]) -> dict[str, Any]:
    """Count rows that repeat another row, and labels that contradict the label of a row with equal features.

    Args:
        parts: Encoded rows.
        tasks: Name, columns of ``labels`` and column of ``mask`` of each task.

    Returns:
        - ``rows``: number of rows;
        - ``duplicates``: number of rows after the first of equal rows;
        - ``contradictions``: per task, the share of known labels in groups of equal features with several labels.
    """
    rows = len(parts["mask"])
    _, group = np.unique(row_hash(parts, features_of(parts)), return_inverse=True)
    groups = int(group.max(initial=-1)) + 1
    shares = {}
    for name, columns, place in tasks:
        known = np.flatnonzero(parts["mask"][:, place])
        label = row_hash({"labels": np.ascontiguousarray(parts["labels"][known][:, columns])}, ["labels"])
        _, label = np.unique(label, return_inverse=True)
        low, high = np.full(groups, np.iinfo(np.int64).max), np.full(groups, -1)
        np.minimum.at(low, group[known], label)
        np.maximum.at(high, group[known], label)
        shares[name] = float((low != high)[group[known]].mean()) if len(known) else 0.0
    return {"rows": rows, "duplicates": rows - len(distinct(parts)), "contradictions": shares}
