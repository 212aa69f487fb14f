"""Area under the ROC curve with the label noise averaged out."""

from typing import ClassVar

import torch
from torch import Tensor

from mtl_lightning.interfaces import MtlError, Target, Task
from mtl_lightning.metrics.binary.auc import AUC
from mtl_lightning.metrics.row_weights import row_weight


class ExpectedAUC(AUC):
    """AUC against the true probabilities: each row is positive with probability p, negative with probability 1 - p.

    The expected number of correctly ordered pairs over the expected number of pairs,
    Σ_{i≠j} p_i (1 - p_j) [s_i > s_j] / Σ_{i≠j} p_i (1 - p_j), ties counting one half. Labels are not used, so the
    value has no label noise, and far fewer rows suffice to distinguish two models, or a model from
    :class:`~mtl_lightning.metrics.binary.oracle_auc.OracleAUC`. Only simulators know p (``oracle`` of the task). For
    multilabel tasks the unweighted mean over the labels.

    Args:
        task: A binary or multilabel task with an ``oracle`` column.
        exact: As in :class:`~mtl_lightning.metrics.binary.auc.AUC`.
        everywhere: Count all rows, not only rows whose label is known. This is the entire space, for example
            conversion of impressions that were not clicked.

    Raises:
        MtlError: The task has no ``oracle``.

    Example:
        >>> metric = ExpectedAUC(Task(name="click", kind="binary", label="click", oracle="p"))
        >>> target = Target(label=torch.zeros(2, 1), mask=torch.ones(2, dtype=torch.bool),
        ...                 raw={"p": torch.tensor([0.9, 0.5])})
        >>> metric.update(torch.tensor([0.3, 0.2]), target)
        >>> round(metric.compute().item(), 4)  # .9 × .5 of the .9 × .5 + .5 × .1 pairs
        0.9
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"binary", "multilabel"})

    def __init__(self, task: Task, *, exact: bool = False, everywhere: bool = False) -> None:
        super().__init__(task, exact=exact)
        if task.oracle is None:
            raise MtlError(f"tasks.{task.name}: no oracle column", "only simulators know the true probability")
        self.oracles = task.oracles
        self.everywhere = everywhere

    def compared(self, prediction: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, true probabilities and weights of the rows, each [B, K]."""
        chance = torch.stack([target.raw[name] for name in self.oracles], dim=1).to(torch.float64)
        weight = torch.ones_like(chance) if self.everywhere else row_weight(target)[:, None].expand(chance.shape)
        return prediction.detach().reshape(chance.shape), chance, weight
