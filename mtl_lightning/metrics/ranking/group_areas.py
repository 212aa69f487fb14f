"""Area under the ROC curve of every group, by ranking all rows."""

from torch import Tensor

from mtl_lightning.metrics.ranking.order import rank
from mtl_lightning.metrics.row_weights import ratio


def areas_by_group(rows: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Area, weight of pairs and weight of rows of each group, [G] in ascending order of group.

    Ties count one half. The area is NaN for groups without a pair of a positive and a negative row.

    Args:
        rows: Score, label in [0, 1] and weight, [n, 3].
        group: Group of each row, [n] int64, any values.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[0.2, 0.0, 1.0], [0.9, 1.0, 1.0], [0.9, 0.0, 1.0]])
        >>> area, pairs, size = areas_by_group(rows, torch.tensor([4, 4, 4]))
        >>> area.item(), pairs.item(), size.item()
        (0.75, 2.0, 3.0)
    """
    ranking = rank(rows, group)
    _, label, weight = ranking.rows.unbind(1)
    positive, negative = ranking.per_level(weight * label), ranking.per_level(weight * (1 - label))
    positives, negatives = ranking.per_group(positive), ranking.per_group(negative)
    below = negative.cumsum(0) - negative - (negatives.cumsum(0) - negatives)[ranking.level_group]
    pairs = positives * negatives
    return ratio(ranking.per_group(positive * (below + negative / 2)), pairs), pairs, positives + negatives
