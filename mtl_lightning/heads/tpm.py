"""Watch time from a tree of intervals."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Unpack

import torch
from torch import Tensor
from torch.nn import functional

from mtl_lightning.heads.tower import TowerHead, TowerOptions, positive_mean
from mtl_lightning.interfaces import Head, MtlError, Output, PositiveInt, Task


class TPMHead(TowerHead):
    """A full binary tree of classifiers over intervals of time: ŷ = Σ_leaf P(leaf)·t_leaf, P(leaf) = Π P(turn | node).

    Each inner node predicts whether the time is in the later half of its intervals, given that it is in one of them. A
    leaf's value t is the mean of an exponential distribution within its interval, so that the last interval, which is
    unbounded, has a value too. The paper's adjustment for item duration is not part of this head: use the duration as a
    feature.

    Source: Lin et al., "Tree based Progressive Regression Model for Watch-Time Prediction in Short-video
    Recommendation", KDD 2023. There the leaves are quantiles of the training labels. Here, unless ``edges`` is given,
    they are quantiles of an exponential distribution with the task's mean.

    Args:
        task: A task whose label is a time or value of at least 0.
        width: Width H of the representation.
        parents: Ignored.
        edges: The 2^depth − 1 ascending bounds between the leaves, in the label's unit. Empty for quantiles of an
            exponential distribution with the task's mean.
        depth: Depth of the tree, if ``edges`` is empty.
        options: Options of :class:`~mtl_lightning.heads.tower.TowerHead`.

    Shapes: h [B, H] → logit [B, M − 1] of turning to the later half, nodes in level order; prediction [B] in the
    label's unit; ``extra``: leaf [B, M] log-probabilities, edges [M − 1], values [M].

    Raises:
        MtlError: If the edges do not ascend from above zero or do not fill a tree.

    Example:
        >>> import torch
        >>> head = TPMHead(Task(name="watch", kind="regression", label="s"), 8, {}, edges=[5.0, 10.0, 30.0])
        >>> head(torch.zeros(2, 8), {}, {}).extra["leaf"].exp().sum(1).round(decimals=4)
        tensor([1., 1.], grad_fn=<RoundBackward1>)
    """

    kinds = frozenset({"regression", "value", "count"})
    loss: ClassVar[str] = "tpm"
    nonnegative = True
    edges: Tensor
    values: Tensor
    node: Tensor
    later: Tensor

    def __init__(
        self,
        task: Task,
        width: int,
        parents: Mapping[str, Head],
        *,
        edges: Sequence[float] = (),
        depth: PositiveInt = 4,
        **options: Unpack[TowerOptions],
    ) -> None:
        mean = positive_mean(task)
        chosen = [float(edge) for edge in edges] or [-mean * math.log1p(-m / 2**depth) for m in range(1, 2**depth)]
        leaves = len(chosen) + 1
        if leaves & (leaves - 1):
            raise MtlError(f"heads.{task.name}.edges: {len(chosen)} bounds", "a full tree has 1, 3, 7, 15, … of them")
        if min(b - a for a, b in pairwise([0.0, *chosen])) <= 0:
            raise MtlError(f"heads.{task.name}.edges: not ascending from above zero", "such as [10, 30, 60]")
        super().__init__(task, width, parents, leaves - 1, **options)
        node, later = _paths(leaves)
        survival = torch.exp(-torch.tensor([0.0, *chosen]) / mean)
        self.register_buffer("edges", torch.tensor(chosen), persistent=False)
        self.register_buffer("values", _interval_means(chosen, mean), persistent=False)
        self.register_buffer("node", node, persistent=False)
        self.register_buffer("later", later, persistent=False)
        with torch.no_grad():
            self.tower.output.bias.copy_(_start(survival))

    def forward(self, h: Tensor, parents: Mapping[str, Output], raw: Mapping[str, Tensor]) -> Output:
        """Log-odds of each turn, and the leaves' log-probabilities."""
        logit, hidden = self.tower(h)
        turns = functional.logsigmoid(logit[:, self.node] * self.later)
        return Output(logit, hidden, extra={"leaf": turns.sum(2), "edges": self.edges, "values": self.values})

    def predict(self, output: Output, raw: Mapping[str, Tensor]) -> Tensor:
        """Expected time, [B]."""
        return output.extra["leaf"].exp() @ self.values.to(output.logit.dtype)


def _paths(leaves: int) -> tuple[Tensor, Tensor]:
    """Nodes on the way to each leaf and the turns there (1 later, −1 earlier), both [M, depth]."""
    depth = leaves.bit_length() - 1
    levels = torch.arange(depth)
    leaf = torch.arange(leaves).unsqueeze(1)
    node = 2**levels - 1 + (leaf >> (depth - levels))
    return node, ((leaf >> (depth - 1 - levels)) & 1) * 2.0 - 1


def _interval_means(edges: Sequence[float], mean: float) -> Tensor:
    """Mean of an exponential distribution in each interval, [M]; the last one reaches to infinity."""
    bounds = [0.0, *edges]
    # Beyond e^700, the largest float, the interval holds the whole tail.
    inner = [a + mean - (b - a) / math.expm1(min((b - a) / mean, 700.0)) for a, b in pairwise(bounds)]
    return torch.tensor([*inner, bounds[-1] + mean])


def _start(survival: Tensor) -> Tensor:
    """Log-odds of each turn under an exponential distribution, nodes in level order, [M − 1]."""
    leaves = len(survival)
    mass = survival - torch.cat([survival[1:], survival.new_zeros(1)])
    starts = []
    for level in range(leaves.bit_length() - 1):
        early, late = mass.view(2**level, 2, -1).sum(2).unbind(1)
        # Intervals without any mass carry no information; clamp avoids 0/0.
        total = (early + late).clamp(min=torch.finfo(early.dtype).tiny)
        starts.append(torch.logit((late / total).clamp(0.01, 0.99)))
    return torch.cat(starts)
