"""Direct entire-space causal multi-task framework."""

from typing import ClassVar

from mtl_lightning.heads.corrected import CorrectedHead


class DCMTHead(CorrectedHead):
    """ESMM's product, and a twin tower for the counterfactual event.

    The twin predicts that the event would *not* happen. The loss ``dcmt`` trains it where the parent's event did not
    happen; both towers are weighted by inverse probabilities and tied by r + r* ≈ 1.

    Source: Zhu et al., "DCMT: A Direct Entire-Space Causal Multi-Task Framework for Post-Click Conversion Estimation",
    ICDE 2023.

    Args:
        task: A binary task with one parent.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        options: Options of :class:`~mtl_lightning.heads.corrected.CorrectedHead`.

    Shapes: h [B, H] → logit [B, 1] of the joint event; ``extra["conditional"]`` and ``extra["counterfactual"]`` [B, 1],
    log-odds.

    Raises:
        MtlError: If there is not exactly one parent, or it is not binary.

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
    auxiliary: ClassVar[str] = "counterfactual"
    opposite: ClassVar[bool] = True
