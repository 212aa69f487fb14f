"""Share of positive rows among the rows called positive."""

from torch import Tensor

from mtl_lightning.metrics.counting.decisions import Decisions
from mtl_lightning.metrics.row_weights import ratio


class Precision(Decisions):
    """Share of the rows called positive that are positive.

    Args:
        task: A binary task.
        threshold: Smallest probability at which a row is called positive.

    Returns from ``compute``: a scalar in [0, 1]; NaN if no row is called positive.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Target, Task
        >>> metric = Precision(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0], [1.0]]), mask=torch.ones(3, dtype=torch.bool))
        >>> metric.update(torch.tensor([0.9, 0.8, 0.1]), target)
        >>> metric.compute().item()
        0.5
    """

    def compute(self) -> Tensor:
        """The share, a scalar."""
        return ratio(self.hits, self.called)
