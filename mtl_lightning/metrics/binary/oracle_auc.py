"""Largest area under the ROC curve that any model can reach."""

from torch import Tensor

from mtl_lightning.interfaces import Target
from mtl_lightning.metrics.binary.expected_auc import ExpectedAUC


class OracleAUC(ExpectedAUC):
    """Expected AUC of the true probabilities themselves, which no model can exceed on the same rows.

    Takes the arguments of :class:`~mtl_lightning.metrics.binary.expected_auc.ExpectedAUC`; ignores predictions.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Task
        >>> metric = OracleAUC(Task(name="click", kind="binary", label="click", oracle="p"))
        >>> target = Target(label=torch.zeros(2, 1), mask=torch.ones(2, dtype=torch.bool),
        ...                 raw={"p": torch.tensor([0.9, 0.5])})
        >>> metric.update(torch.zeros(2), target)
        >>> round(metric.compute().item(), 4)
        0.9
    """

    def compared(self, prediction: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor]:
        """True probabilities as scores, true probabilities, and weights of the rows, each [B, K]."""
        _, chance, weight = super().compared(prediction, target)
        return chance, chance, weight
