"""Share of the positive rows that are called positive."""

from torch import Tensor

from mtl_lightning.metrics.counting.decisions import Decisions
from mtl_lightning.metrics.row_weights import ratio


class Recall(Decisions):
    """Share of the positive rows that are called positive.

    Args:
        task: A binary task.
        threshold: Smallest probability at which a row is called positive.

    Returns from ``compute``: a scalar in [0, 1]; NaN without positive rows.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Target, Task
        >>> metric = Recall(Task(name="click", kind="binary", label="click"), threshold=0.1)
        >>> target = Target(label=torch.tensor([[1.0], [0.0], [1.0]]), mask=torch.ones(3, dtype=torch.bool))
        >>> metric.update(torch.tensor([0.9, 0.8, 0.05]), target)
        >>> metric.compute().item()
        0.5
    """

    def compute(self) -> Tensor:
        """The share, a scalar."""
        return ratio(self.hits, self.positives)
