"""The base of heads for effects of a treatment."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, TypedDict, Unpack

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.heads.probability import rate_logit
from mtl_lightning.heads.tower import TowerHead, TowerOptions
from mtl_lightning.interfaces import ColumnName, Head, Output, Task


class TreatmentOptions(TypedDict, total=False):
    """Options of every :class:`UpliftHead` besides the options of its towers."""

    treatment: ColumnName


class UpliftOptions(TowerOptions, TreatmentOptions, total=False):
    """Options of every :class:`UpliftHead`."""


class UpliftHead(TowerHead):
    """A head that predicts how much a treatment changes the probability of an event: P(y | t = 1) − P(y | t = 0).

    A log has each row either with the treatment or without it. The treatment is read in training and evaluation only;
    predictions need no column.

    Args:
        task: A task of kind ``uplift``. If its mean is known, both probabilities start there.
        width: Width of what the towers read.
        parents: Ignored.
        treatment: Raw column that is 1 in rows with the treatment and 0 in others. A row without a value counts neither
            in the loss nor in a metric.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, 2], log-odds without and with the treatment; ``extra["treatment"]`` [B, 1] if the
    column is there; prediction [B] in [−1, 1]; details ``control``, ``treated`` and ``treatment``, each [B].

    Example:
        >>> from mtl_lightning.heads.t_learner import TLearnerHead
        >>> head = TLearnerHead(Task(name="sale", kind="uplift", label="sale"), 8, {})
        >>> output = head(torch.zeros(3, 8), {}, {})
        >>> head.predict(output, {}).shape, sorted(head.details(output, {}))
        (torch.Size([3]), ['control', 'treated'])
    """

    kinds = frozenset({"uplift"})
    loss: ClassVar[str] = "uplift"

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        treatment: ColumnName = ColumnName("treatment"),  # noqa: B008
        **options: Unpack[TowerOptions],
    ) -> None:
        super().__init__(task, width, parents, 1, rate_logit(task.mean), **options)
        self.binary_columns = (treatment,)
        self.hidden_width = 0

    @abstractmethod
    def arms(self, h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Log-odds of the event without and with the treatment, [B, 2], and what else the loss reads."""

    @override
    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        logit, extra = self.arms(h)
        (column,) = self.binary_columns
        if column in raw:
            extra = extra | {"treatment": raw[column].to(logit.dtype).unsqueeze(1)}
        return Output(logit, extra=extra)

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Difference of the two probabilities, [B]."""
        control, treated = output.logit.sigmoid().unbind(1)
        return treated - control

    def details(self, output: Output, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The two probabilities, and the treatment of each row, [B]."""
        control, treated = output.logit.sigmoid().unbind(1)
        (column,) = self.binary_columns
        return {"control": control, "treated": treated, **({"treatment": raw[column]} if column in raw else {})}


def both(control: Tensor, treated: Tensor) -> Tensor:
    """Two columns [B, 1] as one tensor, [B, 2]."""
    return torch.cat([control, treated], dim=1)
