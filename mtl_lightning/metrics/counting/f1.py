"""Harmonic mean of precision and recall."""

from torch import Tensor

from mtl_lightning.metrics.counting.decisions import Decisions
from mtl_lightning.metrics.row_weights import ratio


class F1(Decisions):
    """Harmonic mean of precision and recall, 2 hits / (rows called positive + positive rows).

    Args:
        task: A binary task.
        threshold: Smallest probability at which a row is called positive.

    Returns from ``compute``: a scalar in [0, 1]; NaN if no row is positive or called positive.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Target, Task
        >>> metric = F1(Task(name="click", kind="binary", label="click"))
        >>> target = Target(label=torch.tensor([[1.0], [0.0], [1.0]]), mask=torch.ones(3, dtype=torch.bool))
        >>> metric.update(torch.tensor([0.9, 0.8, 0.1]), target)
        >>> metric.compute().item()
        0.5
    """

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return ratio(2 * self.hits, self.called + self.positives)
