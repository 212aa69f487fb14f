"""The effect of a treatment, learned from imputed effects of both arms."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor
from typing_extensions import override

from mtl_lightning.heads.t_learner import TLearnerHead
from mtl_lightning.heads.uplift import UpliftOptions, both
from mtl_lightning.interfaces import Head, Output, Task


class XLearnerHead(TLearnerHead):
    """Two towers of outcomes, two of effects, and one of the propensity g = P(t = 1 | x).

    A row with the treatment has the imputed effect y − P(y | t = 0), a row without it P(y | t = 1) − y. Each arm's
    effects are learned by a tower τ, and the prediction is g τ₀ + (1 − g) τ₁: in rows that are mostly treated, the
    effects of the untreated arm count, which were imputed by the better known outcomes.

    The paper fits outcomes first and effects afterwards. Here all towers learn in one training. The imputed effects are
    constants of a step, made of the outcome towers at that time. They approach the paper's while the outcome towers
    converge. The propensity is learned on the representation without changing it.

    Source: Künzel et al., "Metalearners for Estimating Heterogeneous Treatment Effects Using Machine Learning", PNAS
    116, 2019, equations 8 to 10.

    Args:
        task: A task of kind ``uplift``.
        width: Width H of the representation.
        parents: Ignored.
        options: Options of :class:`~mtl_lightning.heads.uplift.UpliftHead`.

    Shapes: as :class:`~mtl_lightning.heads.uplift.UpliftHead`; ``extra``: effects [B, 2] in [−1, 1], learned from the
    arm without and with the treatment, and propensity [B, 1], log-odds.

    Example:
        >>> import torch
        >>> head = XLearnerHead(Task(name="sale", kind="uplift", label="sale"), 8, {})
        >>> output = head(torch.zeros(2, 8), {}, {})
        >>> output.extra["effects"].shape, output.extra["propensity"].shape
        (torch.Size([2, 2]), torch.Size([2, 1]))
    """

    loss: ClassVar[str] = "x_learner"

    def __init__(self, task: Task, width: int, parents: Mapping[str, Head], **options: Unpack[UpliftOptions]) -> None:
        super().__init__(task, width, parents, **options)
        self.effect_of_control, self.effect_of_treated, self.propensity = (self.make_tower(1) for _ in range(3))

    @override
    def arms(self, h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        effects = both(self.effect_of_control(h)[0], self.effect_of_treated(h)[0]).tanh()
        return super().arms(h)[0], {"effects": effects, "propensity": self.propensity(h.detach())[0]}

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Effects of both arms, each weighted by the propensity of the other arm, [B]."""
        control, treated = output.extra["effects"].unbind(1)
        propensity = output.extra["propensity"][:, 0].sigmoid()
        return propensity * control + (1 - propensity) * treated
