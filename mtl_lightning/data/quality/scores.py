"""The numbers behind findings: AUC of a single value, out-of-fold target encoding, PSI, correlation."""

import numpy as np

FOLDS = 5
SMOOTHING = 1.0
"""Rows of the overall rate that are added to each value's own."""
SHARE_FLOOR = 1e-4
"""A bin's share in PSI is at least this, so that an empty one gives no infinity."""


def auc(order: np.ndarray, positive: np.ndarray, total: np.ndarray) -> float:
    """AUC of groups that share a score; ties count half.

    Args:
        order: Score per group, [G].
        positive: Rows with the label per group, [G].
        total: All rows per group, [G].

    Returns:
        The AUC, or NaN where there are no rows of one kind.

    Example:
        >>> auc(np.array([0.0, 1.0]), np.array([1, 3]), np.array([4, 4]))
        0.75
    """
    _, group = np.unique(order, return_inverse=True)
    hits = np.bincount(group, weights=positive)
    misses = np.bincount(group, weights=total) - hits
    if not hits.sum() or not misses.sum():
        return float("nan")
    below = np.cumsum(misses) - misses
    return float((hits * (below + misses / 2)).sum() / (hits.sum() * misses.sum()))


def row_auc(score: np.ndarray, label: np.ndarray) -> float:
    """AUC of a score per row, [N], against labels 0 and 1, [N]."""
    return auc(score, label, np.ones(len(score)))


def fold_table(
    codes: np.ndarray, label: np.ndarray, fold: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target encoding of each value by the rows of all other folds.

    A row's own label has no part in its value, so that an id that comes once gets the overall rate.

    Args:
        codes: Non-negative integers, [N] or [N, L] (a row's codes).
        label: Labels, [N].
        fold: Fold of each row, below :data:`FOLDS`, [N].
        known: Rows whose label is known, [N]; no other row counts.

    Returns:
        Per value V and fold F the encoding, the sum of its labels and its rows in the fold, each [V, F].

    Example:
        >>> codes, label = np.array([0, 0, 1]), np.array([1.0, 1.0, 0.0])
        >>> values, sums, rows = fold_table(codes, label, np.array([0, 1, 0]), np.ones(3, dtype=bool))
        >>> values[0, :2].tolist(), float(values[1, 0]), rows[0, :2].tolist()
        ([1.0, 0.75], 1.0, [1.0, 1.0])
    """
    wide = codes[known].reshape(int(known.sum()), -1)
    cell = (wide.astype(np.int64) * FOLDS + fold[known, None]).ravel()
    size = (int(codes.max(initial=0)) + 1) * FOLDS
    rows = np.bincount(cell, minlength=size).reshape(-1, FOLDS).astype(np.float64)
    sums = np.bincount(cell, weights=np.repeat(label[known], wide.shape[1]), minlength=size).reshape(-1, FOLDS)
    all_rows = np.bincount(fold[known], minlength=FOLDS).astype(np.float64)
    hits = np.bincount(fold[known], weights=label[known], minlength=FOLDS)
    others = all_rows.sum() - all_rows
    rate = np.divide(hits.sum() - hits, others, out=np.full(FOLDS, 0.5), where=others > 0)
    other_rows = rows.sum(1, keepdims=True) - rows
    other_sums = sums.sum(1, keepdims=True) - sums
    return (other_sums + SMOOTHING * rate) / (other_rows + SMOOTHING), sums, rows


def encoded_auc(codes: np.ndarray, label: np.ndarray, fold: np.ndarray, known: np.ndarray) -> float:
    """AUC of the out-of-fold target encoding; a row with several codes counts by their mean.

    It is the mean over folds, weighted by rows: encodings of different folds rest on different rates, which alone would
    order the rows (against their labels). NaN where no fold has both labels.

    Args:
        codes: As for :func:`fold_table`.
        label: Labels 0 and 1, [N].
        fold: Fold of each row, [N].
        known: Rows that count, [N].
    """
    values, sums, rows = fold_table(codes, label, fold, known)
    found = []
    for f in range(FOLDS):
        if codes.ndim == 1:
            used = rows[:, f] > 0
            one = auc(values[used, f], sums[used, f], rows[used, f])
        else:
            mine = known & (fold == f)
            one = row_auc(values[:, f][codes[mine]].mean(axis=1), label[mine])
        if not np.isnan(one):
            found.append((one, float((fold[known] == f).sum())))
    if not found:
        return float("nan")
    return sum(one * count for one, count in found) / sum(count for _, count in found)


def psi(expected: np.ndarray, actual: np.ndarray) -> float:
    """Population stability index of two counts over the same bins; NaN where one has no rows.

    Args:
        expected: Rows per bin before.
        actual: Rows per bin now.

    Example:
        >>> psi(np.array([50, 50]), np.array([50, 50])), round(psi(np.array([50, 50]), np.array([75, 25])), 4)
        (0.0, 0.2747)
    """
    if not expected.sum() or not actual.sum():
        return float("nan")
    before = np.maximum(expected / expected.sum(), SHARE_FLOOR)
    after = np.maximum(actual / actual.sum(), SHARE_FLOOR)
    return float(((after - before) * np.log(after / before)).sum())


def correlation(count: float, sums: tuple[float, float], squares: tuple[float, float], product: float) -> float | None:
    """Pearson's correlation from sums; for two labels 0 and 1 it is phi. None where one doesn't vary.

    Example:
        >>> correlation(4, (2, 2), (2, 2), 2)
        1.0
    """
    if count < 2:
        return None
    means = sums[0] / count, sums[1] / count
    spread = [square / count - mean**2 for square, mean in zip(squares, means, strict=True)]
    if min(spread) <= 1e-12 * max(1.0, *(square / count for square in squares)):
        return None
    found = (product / count - means[0] * means[1]) / np.sqrt(spread[0] * spread[1])
    return float(np.clip(found, -1, 1))
