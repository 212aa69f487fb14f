"""Rows for all contenders: the same arrays from the same seed."""

from dataclasses import dataclass

import numpy as np

CATEGORICAL, NUMERIC, TASKS, WIDTH = 16, 4, 3, 16
EXPERTS, EXPERT_HIDDEN, TOWER_HIDDEN = 8, [128, 64], [32]
LR = 1e-3


@dataclass
class Rows:
    """Arrays of the rows: ids [N, 16] from 0 below ``sizes``, dense [N, 4], labels [N, 3]."""

    ids: np.ndarray
    dense: np.ndarray
    labels: np.ndarray
    sizes: list[int]


def make(rows: int, vocabulary: int, tasks: int = TASKS, seed: int = 0) -> Rows:
    """Draw rows with ``vocabulary`` ids over all 16 features, with a skewed distribution like real ids."""
    generator = np.random.default_rng(seed)
    size = vocabulary // CATEGORICAL
    skew = generator.random((rows, CATEGORICAL)) ** 2
    ids = (skew * size).astype(np.int64)
    dense = generator.standard_normal((rows, NUMERIC)).astype(np.float32)
    chance = 1 / (1 + np.exp(-dense[:, [0]] - (ids[:, [0]] % 7 - 3) / 2 + np.arange(tasks)))
    labels = (generator.random((rows, tasks)) < chance).astype(np.float32)
    return Rows(ids, dense, labels, [size] * CATEGORICAL)
