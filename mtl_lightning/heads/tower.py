"""The tower of a head, and the base of heads whose output comes from one."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import TypedDict, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.interfaces import DropRate, Head, Output, Sizes, Task
from mtl_lightning.layers import MLP
from mtl_lightning.layers.batched import apply_maps, is_watched, stack_parameters
from mtl_lightning.layers.mlp import ACTIVATIONS, Activation

JOINT = frozenset({nn.Linear, *ACTIVATIONS.values()})
"""Kinds of layers that are computed together."""


class Tower(nn.Module):
    """An MLP and a linear output layer.

    Args:
        in_width: Width H of the task's representation.
        hidden: Layer sizes; empty for a linear output alone.
        outputs: Number K' of outputs.
        activation: Activation of the hidden layers.
        dropout: Dropout in the hidden layers.
        start: Initial bias of every output: where predictions start.

    Shapes: [B, H] → logit [B, K'] and hidden state [B, width].

    Example:
        >>> import torch
        >>> logit, hidden = Tower(4, [8], 1)(torch.zeros(3, 4))
        >>> logit.shape, hidden.shape
        (torch.Size([3, 1]), torch.Size([3, 8]))
    """

    def __init__(
        self,
        in_width: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        start: float = 0.0,
    ) -> None:
        super().__init__()
        self.hidden = MLP(in_width, hidden, activation=activation, dropout=dropout)
        self.output = nn.Linear(self.hidden.width, outputs)
        nn.init.constant_(self.output.bias, start)
        self.width = self.hidden.width

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Logit and last hidden state."""
        hidden: Tensor = self.hidden(h)
        return self.output(hidden), hidden

    def shape(self) -> Hashable | None:
        """Sizes and activations of the layers; None if there are hooks, or layers of other kinds or without a bias."""
        if type(self) is not Tower or type(self.hidden) is not MLP:
            return None
        layers = [*self.hidden.layers, self.output]
        if any(map(is_watched, (self, self.hidden, self.hidden.layers, *layers))):
            return None
        kinds = [None if type(layer) is nn.Linear and layer.bias is None else type(layer) for layer in layers]
        if not JOINT.issuperset(kinds):
            return None
        return tuple(layer.weight.shape if isinstance(layer, nn.Linear) else type(layer) for layer in layers)


def apply_towers(towers: Sequence[Tower], representations: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Logit and last hidden state of T towers of equal shape, each of its own representation, as batched products.

    Example:
        >>> towers, h = [Tower(4, [8], 1), Tower(4, [8], 1)], torch.ones(3, 4)
        >>> [torch.allclose(logit, tower(h)[0]) for tower, (logit, _) in zip(towers, apply_towers(towers, [h, h]))]
        [True, True]
    """
    stacked = iter(stack_parameters(towers))
    x = torch.stack(list(representations))
    for layer in towers[0].hidden.layers:
        x = apply_maps(x, next(stacked), next(stacked).unsqueeze(1)) if isinstance(layer, nn.Linear) else layer(x)
    logits = apply_maps(x, next(stacked), next(stacked).unsqueeze(1))
    return list(zip(logits.unbind(), x.unbind(), strict=True))


def positive_mean(task: Task) -> float:
    """Mean of the task's label if it is above 0, otherwise 1."""
    return task.mean if task.mean and task.mean > 0 else 1.0


class TowerOptions(TypedDict, total=False):
    """Options of every :class:`TowerHead`; a subclass ends its constructor with ``Unpack[TowerOptions]``."""

    hidden: Sizes
    activation: Activation
    dropout: DropRate


class TowerHead(Head):
    """A head whose output comes from a tower.

    Args:
        task: The task.
        width: Width H of the representation.
        parents: Built heads of the task's parents.
        outputs: Number K' of the tower's outputs.
        start: Initial bias of every output.
        hidden: Layer sizes of the tower.
        activation: Activation of the tower.
        dropout: Dropout in the tower.

    Shapes: h [B, H] → logit [B, K'], hidden state [B, last of ``hidden``].

    Example:
        >>> import torch
        >>> class Probability(TowerHead):
        ...     kinds = frozenset({"binary"})
        ...     loss = "bce"
        ...     def predict(self, output, raw):
        ...         return output.logit[:, 0].sigmoid()
        >>> head = Probability(Task(name="click", kind="binary", label="click"), 8, {}, hidden=[])
        >>> head(torch.zeros(3, 8), {}, {}).logit.shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        outputs: int = 1,
        start: float = 0.0,
        *,
        hidden: Sizes = (32,),
        activation: Activation = "relu",
        dropout: DropRate = 0.0,
    ) -> None:
        super().__init__()
        self.mean = task.mean
        self.make_tower = partial(Tower, width, hidden, activation=activation, dropout=dropout)
        self.tower = self.make_tower(outputs, start=start)
        self.hidden_width = self.tower.width
        self.unit = positive_mean(task)

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Output of the tower."""
        logit, hidden = self.tower(h)
        return Output(logit, hidden, link=self.link)

    @override
    def alike(self) -> Hashable | None:
        return self.tower.shape() if type(self).forward is TowerHead.forward else None

    @override
    def forward_alike(self, heads: Sequence[Head], representations: Sequence[Tensor]) -> list[Output]:
        several = cast(Sequence[TowerHead], heads)
        outputs = apply_towers([head.tower for head in several], representations)
        return [Output(logit, h, link=head.link) for head, (logit, h) in zip(several, outputs, strict=True)]

    def link(self, label: Tensor) -> Tensor:
        """The label in the space in which the tower predicts it, [B, K]; the label itself unless overridden."""
        return label
