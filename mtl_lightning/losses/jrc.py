"""Ranking and calibration from one pair of logits."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.interfaces import Loss, Output, Share, Target, Task
from mtl_lightning.losses.groups import group_log_softmax, grouped_mean
from mtl_lightning.losses.rows import cross_entropy


class JRCLoss(Loss):
    """``calibration`` · BCE(f_1 − f_0) − (1 − ``calibration``) · log(e^f_y(i) / Σ_j e^f_y(j)), j over i's group.

    The first term makes the difference of the two energies a probability. In the second, row i with label y competes by
    f_y with the rows of its user: positives get a high f_1, negatives a high f_0. Groups span processes.

    Source: Sheng et al., "Joint Optimization of Ranking and Calibration with Contextualized Hybrid Model", KDD 2023.

    Args:
        task: A binary task with the head ``jrc``.
        calibration: Weight α of the cross-entropy, 0 to 1.

    Shapes: logit [B, 1], ``extra["energies"]`` [B, 2], label [B, 1], group [B] → scalar.

    Raises:
        MtlError: If the data have no group column.

    Example:
        >>> import torch
        >>> loss = JRCLoss(Task(name="click", kind="binary", label="click"), calibration=0.0)
        >>> target = Target(label=torch.tensor([[1.0], [0.0]]), mask=torch.tensor([True, True]),
        ...                 group=torch.tensor([5, 5]))
        >>> output = Output(torch.zeros(2, 1), extra={"energies": torch.zeros(2, 2)})
        >>> round(loss(output, target, {}).item(), 4)
        0.6931
    """

    kinds = frozenset({"binary"})
    heads = frozenset({"jrc"})

    def __init__(self, task: Task, *, calibration: Share = 0.5) -> None:
        super().__init__()
        self.calibration = calibration

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean loss over known labels."""
        ranking = grouped_mean("jrc", output.extra["energies"], target, _row_loss)
        return self.calibration * cross_entropy(output, target) + (1 - self.calibration) * ranking


def _row_loss(score: Tensor, label: Tensor, group: Tensor) -> Tensor:
    """Each row's cost against its group, by the energy of its own class, [N]."""
    absent, present = (group_log_softmax(score[:, side], group) for side in (0, 1))
    return -torch.where(label > 0.5, present, absent)
