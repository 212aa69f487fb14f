"""The heads of an ensemble's members as one head."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from mtl_lightning.interfaces import TASK_KINDS, Head, Output


class MemberHeads(Head):
    """One head of a task per member; the prediction is the mean of theirs, weighed or not.

    Member m reads its slice of the representation, and the outputs of member m of the parents' heads.

    Args:
        members: A built head per member, each of width H.
        weighed: Whether means are weighed by the buffer ``weights``, [k], which starts with equal weights.

    Shapes: h [B, k·H] → ``members``, k outputs; logit [B, K'], their mean.

    Example:
        >>> from mtl_lightning.heads.binary import BinaryHead
        >>> from mtl_lightning.interfaces import Task
        >>> task = Task(name="click", kind="binary", label="click")
        >>> head = MemberHeads([BinaryHead(task, 8, {}) for _ in range(3)])
        >>> output = head(torch.zeros(4, 24), {}, {})
        >>> len(output.members), head.predict(output, {}).shape
        (3, torch.Size([4]))
    """

    kinds = frozenset(TASK_KINDS)
    loss: ClassVar[str] = ""

    weights: Tensor

    def __init__(self, members: Sequence[Head], *, weighed: bool = False) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.binary_columns = members[0].binary_columns
        self.nonnegative = any(head.nonnegative for head in members)
        self.mean = members[0].mean
        self.weighed = weighed
        if weighed:
            self.register_buffer("weights", torch.full((len(members),), 1 / len(members)))

    def _mean(self, values: Tensor) -> Tensor:
        """Mean over members of values, [k, …]."""
        return torch.tensordot(self.weights.to(values.dtype), values, 1) if self.weighed else values.mean(0)

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Outputs of all members, and their means."""
        outputs: list[Output] = []
        for m, (head, part) in enumerate(zip(self.members, h.chunk(len(self.members), dim=1), strict=True)):
            outputs.append(head(part, {name: parent.members[m] for name, parent in parents.items()}, raw))
        penalties = [output.penalty for output in outputs if output.penalty is not None]
        return Output(
            logit=self._mean(torch.stack([output.logit for output in outputs])),
            penalty=torch.stack(penalties).sum(0) / len(outputs) if penalties else None,
            members=tuple(outputs),
        )

    def predictions(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """The members' predictions, [k, B] or [k, B, K]."""
        heads = cast(Iterable[Head], self.members)
        return torch.stack([head.predict(part, raw) for head, part in zip(heads, output.members, strict=True)])

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Mean of the members' predictions, [B] or [B, K]."""
        return self._mean(self.predictions(output, raw))

    def details(self, output: Output, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Means of the members' details."""
        heads = cast(Iterable[Head], self.members)
        details = [head.details(part, raw) for head, part in zip(heads, output.members, strict=True)]
        return {name: self._mean(torch.stack([part[name] for part in details])) for name in details[0]}
