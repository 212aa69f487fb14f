"""Known rows of outputs and targets.

A row of unknown label may hold any value, also an infinite logit. Its gradient is exactly zero only if the logit itself
is replaced before the loss is computed, since zero times an infinite derivative is NaN.
"""

from collections.abc import Hashable

from torch import Tensor, nn
from torch.nn import functional

from mtl_lightning.interfaces import Loss, Output, Target

OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes that every module has: they are not options."""


def known_rows(values: Tensor, target: Target) -> Tensor:
    """``values`` [B, K] with unknown rows set to zero and cut from the graph.

    Example:
        >>> import torch
        >>> target = Target(label=torch.ones(2, 1), mask=torch.tensor([True, False]))
        >>> known_rows(torch.tensor([[2.0], [torch.inf]]), target).tolist()
        [[2.0], [0.0]]
    """
    return target.known(values)


def linked_label(output: Output, target: Target) -> Tensor:
    """The label [B, K] in the space of the output's logit, zero where unknown."""
    label = target.label if output.link is None else output.link(target.label)
    linked = label.to(output.logit.dtype)
    return linked if label is target.label else known_rows(linked, target)


def key_of(loss: Loss) -> Hashable | None:
    """Type and options of a loss, for :meth:`Loss.alike`; None if it has other state than numbers and text.

    Example:
        >>> from mtl_lightning.interfaces import Task
        >>> from mtl_lightning.losses.huber import Huber
        >>> key_of(Huber(Task(name="rating", kind="regression", label="rating"), delta=2.0))[1:]
        (('delta', 2.0),)
    """
    options = [(name, value) for name, value in vars(loss).items() if name not in OF_EVERY_MODULE]
    plain = all(isinstance(value, int | float | str | None) for _, value in options)
    plain = plain and not (loss._parameters or loss._buffers or loss._modules)
    return (type(loss), *options) if plain else None


def entropies(logit: Tensor, label: Tensor) -> Tensor:
    """Binary cross-entropies of log-odds and labels of the same shape."""
    return functional.binary_cross_entropy_with_logits(logit, label.to(logit.dtype), reduction="none")


def cross_entropy(output: Output, target: Target) -> Tensor:
    """Mean binary cross-entropy over known labels of the global batch, a scalar.

    Example:
        >>> import torch
        >>> target = Target(label=torch.ones(1, 1), mask=torch.tensor([True]))
        >>> round(cross_entropy(Output(torch.zeros(1, 1)), target).item(), 4)
        0.6931
    """
    return target.mean(entropies(known_rows(output.logit, target), target.label)[:, 0])
