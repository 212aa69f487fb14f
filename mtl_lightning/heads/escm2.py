"""Entire-space cascade with a counterfactual regulariser."""

from typing import ClassVar

from mtl_lightning.heads.corrected import CorrectedHead


class ESCM2Head(CorrectedHead):
    """ESMM's product, and an imputation tower for the doubly robust loss.

    The loss ``escm2`` weighs the conditional's errors by the inverse probability of the parent's event (IPW), or
    completes them with imputed errors (DR). The conditional is then right over all impressions, not only over
    impressions where the parent's event happened.

    Source: Wang et al., "ESCM²: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
    Estimation", SIGIR 2022.

    Args:
        task: A binary task with one parent.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        options: Options of :class:`~mtl_lightning.heads.corrected.CorrectedHead`.

    Shapes: h [B, H] → logit [B, 1] of the joint event; ``extra["conditional"]`` and ``extra["imputation"]`` [B, 1],
    log-odds.

    Raises:
        MtlError: If there is not exactly one parent, or it is not binary.

    Example:
        >>> import torch
        >>> from mtl_lightning.interfaces import Task
        >>> from mtl_lightning.heads.binary import BinaryHead
        >>> click = BinaryHead(Task(name="click", kind="binary", label="click"), 8, {})
        >>> task = Task(name="sale", kind="binary", label="sale", parents=("click",))
        >>> head = ESCM2Head(task, 8, {"click": click}, predicts="conditional")
        >>> h = torch.randn(3, 8)
        >>> sorted(head(h, {"click": click(h, {}, {})}, {}).extra)
        ['conditional', 'imputation']
    """

    loss: ClassVar[str] = "escm2"
    auxiliary: ClassVar[str] = "imputation"
