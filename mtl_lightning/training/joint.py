"""Heads and losses of a training step side by side, which takes fewer kernels than one task after the other."""

from collections.abc import Hashable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mtl_lightning.batch import Batch, Output, Target
from mtl_lightning.interfaces import Head, Loss
from mtl_lightning.layers.batched import is_watched

LEAST = 1e-30
"""Divisor of a task without labels. Others are not below it, and the sum that it divides is zero."""


def separate(representations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views of the representations: tensors that only their tasks read, not the architecture or other tasks."""
    return {task: h.view_as(h) for task, h in representations.items()}


def joint_outputs(
    heads: nn.ModuleDict, representations: Mapping[str, Tensor], raw: Mapping[str, Tensor]
) -> dict[str, Output]:
    """Outputs of heads without parents; heads of equal shape are computed together."""
    groups: dict[Hashable, list[str]] = {}
    for task in representations:
        head = cast(Head, heads[task])
        key = None if is_watched(head) else head.alike()
        groups.setdefault(task if key is None else (type(head).forward_alike, key), []).append(task)
    outputs: dict[str, Output] = {}
    for tasks in groups.values():
        members = [cast(Head, heads[task]) for task in tasks]
        inputs = [representations[task] for task in tasks]
        if len(tasks) == 1:
            outputs[tasks[0]] = members[0](inputs[0], {}, raw)
        else:
            outputs |= dict(zip(tasks, members[0].forward_alike(members, inputs), strict=True))
    return {task: outputs[task] for task in representations}


def joint_losses(
    criteria: nn.ModuleDict, outputs: Mapping[str, Output], targets: Mapping[str, Target], batch: Batch, counts: Tensor
) -> dict[str, Tensor] | Tensor:
    """Losses that are means of one element per row: all of them as a tensor [T], or some of them by task.

    Args:
        criteria: Loss of each task.
        outputs: Output of each task.
        targets: Target of each task, in the order of the outputs.
        batch: The batch.
        counts: Global counts [T + 1] of :func:`mtl_lightning.training.step.global_counts`.
    """
    groups: dict[Hashable, list[str]] = {}
    for task, output in outputs.items():
        loss = cast(Loss, criteria[task])
        key = None if is_watched(loss) else loss.alike()
        single = output.logit.shape[1:] == (1,) and targets[task].label.shape[1] == 1
        if key is not None and single and output.penalty is None and not output.members:
            groups.setdefault(key, []).append(task)
    order = [task for tasks in groups.values() for task in tasks]
    if len(order) < 2:
        return {}
    index = [list(outputs).index(task) for task in order]
    logits = torch.cat([outputs[task].logit for task in order], dim=1)
    mask = _columns(batch.mask, index)
    unknown = ~mask
    parts = logits.masked_fill(unknown, 0).split([len(tasks) for tasks in groups.values()], dim=1)
    known = mask if batch.weight is None else mask * _columns(batch.weight, index)
    factors = (known / _columns(counts[:-1], index).clamp_min(LEAST).to(logits.dtype)).to(logits.dtype)
    for task, column in zip(order, unknown.unbind(1), strict=True):
        targets[task].unknown = column
    values = []
    for tasks, part in zip(groups.values(), parts, strict=True):
        losses = [cast(Loss, criteria[task]) for task in tasks]
        labels = {task: loss.label(outputs[task], targets[task]) for task, loss in zip(tasks, losses, strict=True)}
        if all(label is targets[task].label for task, label in labels.items()):
            label = _columns(batch.labels, [batch.schema.label_slices[task].start for task in tasks])
        else:
            label = torch.cat(list(labels.values()), dim=1)
        values.append(losses[0].elements(part, label))
    means = (torch.cat(values, dim=1) * factors).sum(0)
    return means if index == list(range(len(outputs))) else dict(zip(order, means.unbind(), strict=True))


def _columns(values: Tensor, index: Sequence[int]) -> Tensor:
    """The columns, as a view if they are consecutive."""
    if [*index] == [*range(index[0], index[0] + len(index))]:
        return values[..., index[0] : index[0] + len(index)]
    return torch.stack([values[..., i] for i in index], dim=-1)
