"""The loss of an ensemble."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lightning.interfaces import TASK_KINDS, Loss, Output, Target


class MemberLoss(Loss):
    """The mean of a loss over the members of an ensemble, so that each learns as if it were alone.

    Args:
        loss: The loss of a single member. Member m sees the outputs of member m of the parents.

    Example:
        >>> from mtl_lightning.interfaces import Task
        >>> from mtl_lightning.losses.mse import MeanSquaredError
        >>> loss = MemberLoss(MeanSquaredError(Task(name="rating", kind="regression", label="rating")))
        >>> target = Target(label=torch.zeros(1, 1), mask=torch.tensor([True]))
        >>> members = tuple(Output(torch.tensor([[value]])) for value in (1.0, 3.0))
        >>> loss(Output(torch.tensor([[2.0]]), members=members), target, {}).item()
        5.0
    """

    kinds = frozenset(TASK_KINDS)

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        self.probability_columns = loss.probability_columns

    def forward(self, output: Output, target: Target, parents: Mapping[str, tuple[Output, Target]]) -> Tensor:
        """Mean of the members' losses."""
        values = []
        for m, member in enumerate(output.members):
            of_parents = {name: (parent.members[m], known) for name, (parent, known) in parents.items()}
            values.append(self.loss(member, target, of_parents))
        return torch.stack(values).mean()
