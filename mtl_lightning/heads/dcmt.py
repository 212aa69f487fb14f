"""Direct entire-space causal multi-task framework."""

from typing import ClassVar

from mtl_lightning.heads.corrected import CorrectedHead


class DCMTHead(CorrectedHead):
    """ESMM's product, and a twin tower for the counterfactual event.

    The twin predicts that the event would *not* happen, learned where the parent's event didn't (loss ``dcmt``); both
    are weighted by inverse probabilities and tied by r + r* ≈ 1.

    Source: Zhu et al., "DCMT: A Direct Entire-Space Causal Multi-Task Framework for Post-Click Conversion Estimation",
    ICDE 2023.

    Args:
        task: A task as of :class:`CorrectedHead`, and so what follows.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        options: Options of :class:`CorrectedHead` and :class:`ESMMHead`.

    Shapes: h [B, H] → logit [B, 1] of the joint event; ``extra["conditional"]`` and ``extra["counterfactual"]`` [B, 1],
    log-odds.

    Raises:
        MtlError: If there isn't exactly one parent, or it isn't binary.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Task
        >>> from mtl_lightning.heads.binary import BinaryHead
        >>> click = BinaryHead(Task(name="click", kind="binary", label="click"), 8, {})
        >>> task = Task(name="sale", kind="binary", label="sale", parents=("click",))
        >>> head = DCMTHead(task, 8, {"click": click}, predicts="conditional")
        >>> h = torch.randn(3, 8)
        >>> sorted(head(h, {"click": click(h, {}, {})}, {}).extra)
        ['conditional', 'counterfactual']
    """

    loss: ClassVar[str] = "dcmt"
    further: ClassVar[str] = "counterfactual"
    opposite: ClassVar[bool] = True
