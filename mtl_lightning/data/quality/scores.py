"""Measurements for findings: AUC of a value, out-of-fold target encoding, PSI and correlation."""

import numpy as np

FOLDS = 5
"""Number of folds of target encoding."""

SMOOTHING = 1.0
"""Number of rows with the overall rate that are added to each value's rows."""

SHARE_FLOOR = 1e-4
"""Smallest share of a bin in PSI, so that an empty bin does not give infinity."""


def auc(order: np.ndarray, positive: np.ndarray, total: np.ndarray) -> float:
    """Return the AUC of groups of rows with the same score; ties count half.

    Args:
        order: Score of each group, [G].
        positive: Number of rows with the label in each group, [G].
        total: Number of rows in each group, [G].

    Returns:
        AUC, or NaN without positive or negative rows.

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
    """Return the AUC of scores [N] and labels 0 and 1 [N]."""
    return auc(score, label, np.ones(len(score)))


def fold_table(
    codes: np.ndarray, label: np.ndarray, fold: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode each value by the labels of the rows in all other folds.

    A row's own label does not count, so that an id that occurs once has the overall rate.

    Args:
        codes: Non-negative integers, [N], or [N, L] for several codes per row.
        label: Labels, [N].
        fold: Fold of each row, below :data:`FOLDS`, [N].
        known: Whether the label is known, [N]; other rows do not count.

    Returns:
        Three arrays [V, F] per value and fold: encodings, sums of the fold's labels, and numbers of the fold's rows.

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
    """Return the AUC of the out-of-fold target encoding; a row with several codes has their mean.

    It is the mean over folds, weighted by rows. Encodings of different folds have different overall rates, which would
    order rows against their labels.

    Args:
        codes: Non-negative integers, [N], or [N, L] for several codes per row.
        label: Labels 0 and 1, [N].
        fold: Fold of each row, [N].
        known: Rows that count, [N].

    Returns:
        AUC, or NaN if no fold has both labels.
    """
    values, sums, rows = fold_table(codes, label, fold, known)
    scores = []
    for f in range(FOLDS):
        if codes.ndim == 1:
            used = rows[:, f] > 0
            score = auc(values[used, f], sums[used, f], rows[used, f])
        else:
            chosen = known & (fold == f)
            score = row_auc(values[:, f][codes[chosen]].mean(axis=1), label[chosen])
        if not np.isnan(score):
            scores.append((score, float((fold[known] == f).sum())))
    if not scores:
        return float("nan")
    return sum(score * count for score, count in scores) / sum(count for _, count in scores)


def psi(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the population stability index (PSI) of two counts over the same bins; NaN if one has no rows.

    Args:
        expected: Rows per bin before, [bins].
        actual: Rows per bin now, [bins].

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
    """Return Pearson's correlation of two labels from sums; None if a label does not vary.

    For two labels 0 and 1 it is phi.

    Args:
        count: Number of rows.
        sums: Sum of each label.
        squares: Sum of squares of each label.
        product: Sum of products of the labels.

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
    value = (product / count - means[0] * means[1]) / np.sqrt(spread[0] * spread[1])
    return float(np.clip(value, -1, 1))
