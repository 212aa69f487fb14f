"""Base of encoders that choose a few events of a long history by the item at hand, and attend to these."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from mtl_lightning.batch import Batch, Steps
from mtl_lightning.bounds import PositiveInt
from mtl_lightning.encoders.target import TargetEncoder
from mtl_lightning.errors import MtlError
from mtl_lightning.schema import Field, Schema

LEVELS = 1 << 20
"""Levels of a score; scores within a level are equal, so that rounding does not decide between repeated items."""


def best(scores: Tensor, eligible: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Places of the best eligible events, the later one first where scores are equal.

    Args:
        scores: [B, L], any real or integer type.
        eligible: Events that may be chosen, [B, L] bool.
        top: Number of places; at most L.

    Returns:
        Places in order of score, [B, top] int64, and the number of eligible ones among them, [B] int64.

    Example:
        >>> places, count = best(torch.tensor([[1.0, 3.0, 3.0, 9.0]]), torch.tensor([[True, True, True, False]]), 2)
        >>> places.tolist(), count.tolist()
        ([[2, 1]], [2])
    """
    if scores.is_floating_point():
        largest = scores.abs().amax(1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
        scores = (scores / largest * LEVELS).round().to(torch.int64) + LEVELS
    steps = scores.shape[1]
    keys = scores.to(torch.int64) * steps + torch.arange(steps, device=scores.device)
    places = torch.where(eligible, keys, -1).topk(top, dim=1).indices
    return places, eligible.sum(1).clamp(max=top)


class TargetAttention(nn.Module):
    """Multi-head attention of one target to steps: W_o [softmax(q_h · k_jh / √d_h over j) v_jh]_h.

    q = W_q t, k_j = W_k e_j and v_j = W_v e_j without biases. As there is a single query, neither keys nor values are
    computed: q · k_j = (W_kᵀ q) · e_j, and W_v is applied to the weighted sum. W_k starts equal to an orthogonal W_q,
    and the sum of q_h · k_jh over heads as t · e_j.

    Args:
        width: Width D of a step.
        heads: Attention heads; they divide the width.

    Shapes: target [B, D], steps [B, L, D], known [B, L] bool → [B, D]; zero where no step is known.

    Raises:
        MtlError: If the width is not a multiple of the heads.

    Example:
        >>> attention = TargetAttention(4, 2)
        >>> steps = torch.randn(3, 5, 4)
        >>> attention(torch.randn(3, 4), steps, torch.ones(3, 5, dtype=torch.bool)).shape
        torch.Size([3, 4])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise MtlError(f"encoder.attention_heads: {heads} doesn't divide the width {width}")
        self.heads = heads
        self.query, self.key, self.value, self.outer = (nn.Linear(width, width, bias=False) for _ in range(4))
        nn.init.orthogonal_(self.query.weight)
        with torch.no_grad():
            self.key.weight.copy_(self.query.weight)

    def directions(self, target: Tensor) -> Tensor:
        """W_kᵀ q of every head, whose inner product with a step is the head's q · k; [B, heads, D]."""
        query = self.query(target).unflatten(1, (self.heads, -1))
        return torch.einsum("bhk,hkd->bhd", query, self.key.weight.unflatten(0, (self.heads, -1)))

    def forward(self, target: Tensor, steps: Tensor, known: Tensor) -> Tensor:
        """The steps' weighted values, mapped."""
        scale = (target.shape[1] // self.heads) ** -0.5
        scores = self.directions(target) @ steps.transpose(1, 2) * scale
        mask = known.unsqueeze(1)
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(2)
        pooled = torch.where(mask, weights, 0.0) @ steps
        values = torch.einsum("bhd,hkd->bhk", pooled, self.value.weight.unflatten(0, (self.heads, -1)))
        result: Tensor = self.outer(values.flatten(1))
        return result


class SearchEncoder(TargetEncoder):
    """Target attention over the ``top`` events of a history that a search by the target finds.

    The search reads ids and embeddings without gradients. Only the chosen events are then looked up with all that they
    carry, so that attention, its backward and the tables' gradients have ``top`` events per row, whatever the length.

    - A history of at most ``top`` events is read whole, and so is every sequence.
    - A history without a target is the mean of its latest ``top`` events.
    - Events that ``step_dropout`` leaves out are not found.

    Args:
        schema: Fitted schema.
        copies: Number of table sets; each searches with its own tables.
        top: Number of events that the attention reads at most.
        attention_heads: Attention heads; they divide ``width``.
        options: Options of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`.

    Shapes: z as of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`.
    """

    reads_requests = False  # the search is for each row

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        top: PositiveInt = 64,
        attention_heads: PositiveInt = 2,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        self.top = top
        self.attention = nn.ModuleList(
            TargetAttention(self.embedding_width, attention_heads) for _ in range(copies * len(self.targets))
        )
        self.attention_numbers = {name: i for i, name in enumerate(self.targets)}

    @abstractmethod
    def search(self, field: Field, ids: Tensor, known: Tensor, batch: Batch, copy: int) -> tuple[Tensor, Tensor]:
        """Score the events of a history that has a target.

        Args:
            field: The history.
            ids: Ids of its events, [B, L, K].
            known: Events that count, [B, L] bool.
            batch: The batch.
            copy: Number of the table set.

        Returns:
            Scores, [B, L], of any real or integer type, and the events that may be chosen, [B, L] bool.
        """

    def attention_of(self, field: Field, copy: int) -> TargetAttention:
        """The attention of a sequence or history that has a target."""
        module = self.attention[copy * len(self.targets) + self.attention_numbers[field.name]]
        assert isinstance(module, TargetAttention)
        return module

    @override
    def select(self, batch: Batch, known: dict[str, Tensor], copy: int) -> tuple[Batch, dict[str, Tensor]]:
        events, counted = dict(batch.steps), dict(known)
        for field in self.histories:
            steps, present = batch.steps[field.name], known[field.name]
            if steps.ids.shape[1] <= self.top:
                continue
            with torch.no_grad():
                if field.name in self.targets:
                    scores, eligible = self.search(field, steps.ids, present, batch, copy)
                else:
                    scores, eligible = torch.zeros_like(steps.ids[:, :, 0]), present
                places, count = best(scores, eligible & present, self.top)
            events[field.name] = _take(steps, places, count)
            counted[field.name] = events[field.name].known
        return replace(batch, steps=events), counted

    @override
    def pool(self, field: Field, steps: Tensor, known: Tensor, others: Tensor, copy: int) -> Tensor:
        if field.name not in self.targets:
            return super().pool(field, steps, known, others, copy)
        attended: Tensor = self.attention_of(field, copy)(self.target(field, others), steps, known)
        return attended


def _take(steps: Steps, places: Tensor, count: Tensor) -> Steps:
    """Events at these places, [B, k], the first ``count`` of which are known."""
    wide = places.unsqueeze(2)
    ids = steps.ids.gather(1, wide.expand(-1, -1, steps.ids.shape[2]))
    numbers = steps.numbers.gather(1, wide.expand(-1, -1, steps.numbers.shape[2]))
    return Steps(ids, numbers, count, None if steps.gap is None else steps.gap.gather(1, places))
