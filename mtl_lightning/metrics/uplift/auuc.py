"""Area under the uplift curve."""

from torch import Tensor
from typing_extensions import override

from mtl_lightning.metrics.row_weights import ratio
from mtl_lightning.metrics.uplift.curves import Ranking, UpliftMetric, area, both_arms, uplift_gain


class AUUC(UpliftMetric):
    """Area under the uplift curve, per row: the mean gain over all shares of rows that could be treated.

    With rows in descending order of the prediction, the curve is (Y₁ / N₁ − Y₀ / N₀) (N₁ + N₀) over the number of rows
    so far: the positives that a treatment of these rows adds. Both axes are divided by the number of all rows. A
    random order has half of the average effect.

    Args:
        task: A task of kind ``uplift``.

    Returns from ``compute``: a scalar in [−1, 1], in positives per row; NaN without rows in both arms.

    Source:
        Rzepakowski & Jaroszewicz, "Decision Trees for Uplift Modeling with Single and Multiple Treatments", Knowledge
        and Information Systems 32, 2012; the curve is ``uplift_curve`` of scikit-uplift and ``get_cumgain`` of
        causalml, neither of them normalised.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Target, Task
        >>> metric = AUUC(Task(name="sale", kind="uplift", label="sale"))
        >>> details = {"treatment": torch.tensor([1.0, 0.0])}
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.ones(2, dtype=torch.bool), details=details)
        >>> metric.update(torch.tensor([0.4, 0.2]), target)
        >>> metric.compute().item()  # points (0, 0), (½, ½), (1, 1)
        0.5
    """

    @override
    def value(self, score: Tensor, label: Tensor, treatment: Tensor, weight: Tensor) -> Tensor:
        counts = Ranking(score, label, treatment).counts(weight)
        return both_arms(counts, ratio(area(counts, uplift_gain(counts)), weight.sum().square()))
