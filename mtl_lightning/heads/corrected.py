"""ESMM's product with an auxiliary tower for the loss."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Unpack

from torch import Tensor

from mtl_lightning.heads.esmm import ESMMHead
from mtl_lightning.heads.tower import TowerOptions
from mtl_lightning.interfaces import Head, Output, Task


class CorrectedHead(ESMMHead):
    """ESMM's product and an auxiliary tower that only the loss reads; the base of ``escm2`` and ``dcmt``.

    Args:
        task: A binary task with one parent. Its label is the joint event, known for every impression, or the event
            given the parent's, known where the parent's event happened. The loss is the same for both.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        predicts: ``joint``, the probability of both events, or ``conditional``, this one's given the parent's.
            Metrics compare the prediction with the label. For ``conditional`` set the task's ``observed_when``, so that
            its label is known only where the parent's event happened.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Raises:
        MtlError: If there is not exactly one parent, or it is not binary.
    """

    auxiliary: ClassVar[str]
    """Name of the auxiliary tower, and of its log-odds in ``extra``."""
    everywhere: ClassVar[str] = ""
    opposite: ClassVar[bool] = False
    """True if the auxiliary tower predicts that the event does not happen."""

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        predicts: Literal["joint", "conditional"] = "joint",
        **options: Unpack[TowerOptions],
    ) -> None:
        super().__init__(task, width, parents, **options)
        self.predicts = predicts
        self.add_module(self.auxiliary, self.make_tower(1, start=-self.start if self.opposite else self.start))

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of the joint event, of the conditional event, and of the auxiliary tower's prediction."""
        output = super().forward(h, parents, raw)
        output.extra[self.auxiliary], _ = getattr(self, self.auxiliary)(h)
        return output

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Probability of the joint or the conditional event, [B]."""
        if self.predicts == "conditional":
            return output.extra["conditional"][:, 0].sigmoid()
        return super().predict(output, raw)
