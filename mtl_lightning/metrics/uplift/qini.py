"""Qini coefficient."""

from torch import Tensor
from typing_extensions import override

from mtl_lightning.metrics.uplift.curves import QiniCoefficient, UpliftMetric


class Qini(UpliftMetric):
    """Qini coefficient: how much better than a random order the rows are ordered by their predicted effect.

    With rows in descending order of the prediction, the Qini curve is Y₁ − Y₀ N₁ / N₀ over the number of rows so far:
    positives with the treatment, less those expected without it. The coefficient is the area between this curve and the
    straight line to its end, divided by the same area of the best order by the labels, y t − y (1 − t).

    Labels are random, so that the true effects themselves stay far below 1. The treatment is assumed to be random. If
    it is not, inverse propensities as ``sample_weight`` correct the curve.

    Args:
        task: A task of kind ``uplift``.

    Returns from ``compute``: a scalar of at most 1, 0 for a random order; NaN without rows in both arms.

    Source:
        Radcliffe, "Using Control Groups to Target on Predicted Lift", Direct Marketing Analytics Journal, 2007;
        Devriendt, Van Belle, Guns, Verbeke, "Learning to Rank for Uplift Modeling", IEEE TKDE 34, 2022. Normalised as
        ``qini_auc_score`` of scikit-uplift.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Target, Task
        >>> metric = Qini(Task(name="sale", kind="uplift", label="sale"))
        >>> details = {"treatment": torch.tensor([1.0, 1.0, 0.0, 0.0])}
        >>> label, known = torch.tensor([[1.0], [0.0], [0.0], [1.0]]), torch.ones(4, dtype=torch.bool)
        >>> metric.update(torch.tensor([0.4, 0.2, 0.2, 0.0]), Target(label=label, mask=known, details=details))
        >>> metric.compute().item()
        1.0
    """

    @override
    def value(self, score: Tensor, label: Tensor, treatment: Tensor, weight: Tensor) -> Tensor:
        return QiniCoefficient(score, label, treatment)(weight)
