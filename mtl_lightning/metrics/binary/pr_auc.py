"""Area under the precision-recall curve."""

from typing import ClassVar

from torch import Tensor

from mtl_lightning.metrics.binary.auc import AUC
from mtl_lightning.metrics.binary.histogram import average_precision


class PRAUC(AUC):
    """Area under the precision-recall curve as average precision: precision at each score, weighted by recall gained.

    For rare events it is more informative than the AUC: a random model reaches the share of positives, not one half.
    Takes the arguments of :class:`~mtl_lightning.metrics.binary.auc.AUC`, and is NaN where AUC is NaN.

    Source:
        Davis and Goadrich, "The Relationship Between Precision-Recall and ROC Curves", ICML 2006; no interpolation.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Target, Task
        >>> metric = PRAUC(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0], [1.0]]), mask=torch.ones(3, dtype=torch.bool))
        >>> metric.update(torch.tensor([0.9, 0.2, 0.1]), target)
        >>> round(metric.compute().item(), 4)  # 1 × ½ + ⅔ × ½
        0.8333
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multilabel"})

    def curve(self, positive: Tensor, negative: Tensor, own: Tensor) -> Tensor:
        """Average precision of each histogram, [K]."""
        return average_precision(positive, negative)
