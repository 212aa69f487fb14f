"""Entire-space cascade with a counterfactual regulariser."""

from typing import ClassVar

from mtl_lightning.heads.corrected import CorrectedHead


class ESCM2Head(CorrectedHead):
    """ESMM's product, and an imputation tower for the doubly robust loss.

    The loss ``escm2`` weighs the conditional's errors by the inverse probability of the parent's event (IPW), or
    completes them with imputed ones (DR), so that the conditional is right over all impressions and not only over
    those where the parent's event happened.

    Source: Wang et al., "ESCM²: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
    Estimation", SIGIR 2022.

    Args:
        task: A task as of :class:`CorrectedHead`, and so what follows.
        width: Width H of the representation.
        parents: The parent's head, a binary one.
        options: Options of :class:`CorrectedHead` and :class:`ESMMHead`.

    Shapes: h [B, H] → logit [B, 1] of the joint event; ``extra["conditional"]`` and ``extra["imputation"]`` [B, 1],
    log-odds.

    Raises:
        MtlError: If there isn't exactly one parent, or it isn't binary.

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
    further: ClassVar[str] = "imputation"
