"""Error of predicted effects against the truth."""

import torch
from torch import Tensor

from mtl_lightning.interfaces import MtlError, Target, Task
from mtl_lightning.metrics.sums import MeanMetric


class PEHE(MeanMetric):
    """Precision in estimating heterogeneous effects: root mean squared error of the predicted effects.

    Only simulators know the true effects (``oracle`` of the task). Labels and treatments are not used.

    Args:
        task: A task of kind ``uplift`` with an ``oracle`` column.

    Returns from ``compute``: a scalar ≥ 0; NaN without known rows.

    Raises:
        MtlError: The task has no ``oracle``.

    Source:
        Hill, "Bayesian Nonparametric Modeling for Causal Inference", Journal of Computational and Graphical Statistics
        20, 2011.

    Example:
        >>> metric = PEHE(Task(name="sale", kind="uplift", label="sale", oracle="effect"))
        >>> target = Target(label=torch.zeros(1, 1), mask=torch.tensor([True]), raw={"effect": torch.tensor([0.25])})
        >>> metric.update(torch.tensor([0.5]), target)
        >>> metric.compute().item()
        0.25
    """

    kinds = frozenset({"uplift"})
    higher_is_better = False

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if task.oracle is None:
            raise MtlError(f"tasks.{task.name}: no oracle column", "only simulators know the true effect")
        self.oracle = task.oracle

    def row_values(self, prediction: Tensor, target: Target) -> Tensor:
        """Squared errors, [B]."""
        return (prediction.to(torch.float64) - target.raw[self.oracle]).square()

    def compute(self) -> Tensor:
        """The root, a scalar."""
        return super().compute().sqrt()
