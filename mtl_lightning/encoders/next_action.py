"""Loss of the next event at every step of a history, for encoders whose steps see earlier ones only."""

from abc import ABC
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.batch import Auxiliary, Batch, Encoded
from mtl_lightning.bounds import NonNegativeFloat, PositiveInt
from mtl_lightning.encoders.target import TargetEncoder
from mtl_lightning.errors import MtlError
from mtl_lightning.schema import UNKNOWN, Field, Schema

TEMPERATURE = 0.05
"""Divisor of cosines, as in the authors' code of HSTU."""
SHIFT, HIGH_BITS = 33, (1 << 31) - 1
FACTORS = (-0xAE502812AA7333, -0x3B314601E57A13AD)
"""Factors of the finalizer of MurmurHash3 (64 bits), as signed integers."""


def draw_ids(count: int, size: int, step: Tensor) -> Tensor:
    """Ids of a vocabulary that depend only on the number of the step, so that they are equal on all processes.

    Args:
        count: Number of ids; they may repeat.
        size: Size of the vocabulary, with padding and the unknown id, which are never drawn.
        step: Number of the step, a scalar int64, on the device of the result.

    Returns:
        [count] int64; all ids in order if there are at most ``count``.

    Example:
        >>> draw_ids(5, 4, torch.tensor(0)).tolist(), len(draw_ids(5, 100, torch.tensor(0)))
        ([2, 3], 5)
    """
    known = size - UNKNOWN - 1
    if known <= count:
        return torch.arange(UNKNOWN + 1, size, device=step.device)
    bits = step * count + torch.arange(count, device=step.device)
    for factor in FACTORS:
        bits = (bits ^ ((bits >> SHIFT) & HIGH_BITS)) * factor
    bits = bits ^ ((bits >> SHIFT) & HIGH_BITS)
    return bits.remainder(known) + UNKNOWN + 1


class NextAction(nn.Module):
    """−log softmax of the next event's id among drawn ids, at every step of a history.

    The logit of an id is the cosine of its embedding and the mapped token W s + b of a step, divided by 0.05. The loss
    of a row is the mean over pairs of adjacent steps that count, where the later one's id is in the vocabulary.
    A row without such a pair has loss 0.

    Args:
        width: Width of a token and of an embedding.

    Example:
        >>> ids, known = torch.tensor([[2, 3, 0]]), torch.tensor([[True, True, False]])
        >>> drawn = torch.tensor([2, 3])
        >>> NextAction(4)(torch.randn(1, 3, 4), ids, known, torch.randn(1, 2, 4), drawn, torch.randn(2, 4)).shape
        torch.Size([1])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.outer = nn.Linear(width, width)

    def forward(
        self, tokens: Tensor, ids: Tensor, known: Tensor, later: Tensor, drawn: Tensor, embedded: Tensor
    ) -> Tensor:
        """Loss of each row, [B].

        Args:
            tokens: Tokens of the steps, each made of itself and earlier steps, [B, L, width].
            ids: Ids of the steps, [B, L].
            known: Steps that count, [B, L] bool.
            later: Embeddings of the ids of all steps but the first, [B, L − 1, width].
            drawn: Drawn ids, [M].
            embedded: Their embeddings, [M, width].
        """
        following = ids[:, 1:]
        counted = known[:, :-1] & known[:, 1:] & (following > UNKNOWN)
        mapped = functional.normalize(self.outer(tokens[:, :-1]), dim=2)
        right = (mapped * functional.normalize(later, dim=2)).sum(2, keepdim=True) / TEMPERATURE
        others = mapped @ functional.normalize(embedded, dim=1).T / TEMPERATURE
        others = others.masked_fill(following.unsqueeze(2) == drawn, float("-inf"))
        losses = torch.cat([right, others], dim=2).logsumexp(2) - right.squeeze(2)
        return torch.where(counted, losses, 0.0).sum(1) / counted.sum(1).clamp(min=1)


class NextActionEncoder(TargetEncoder, ABC):
    """Base of encoders whose tokens of steps see earlier steps only, and can be trained to predict the next one.

    A subclass gives the tokens to :meth:`predict_next` in training. The loss reads ids of the history alone: neither
    the item at hand nor a label enters it.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        next_action: Weight of the loss of the next event, a mean over rows, sequences and histories, and table sets;
            0 for none. It is added to the objective, unseen by the weighter.
        next_negatives: Number of ids that each step's next event is compared with, drawn uniformly from the vocabulary
            once for a batch; a smaller vocabulary is compared as a whole.
        options: Options of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`.

    Shapes: z as of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`.

    Raises:
        MtlError: If there is a weight, but neither a sequence nor a history.
    """

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        next_action: NonNegativeFloat = 0.0,
        next_negatives: PositiveInt = 128,
        **options: Any,
    ) -> None:
        super().__init__(schema, copies, **options)
        self.next_action, self.next_negatives = next_action, next_negatives
        self._tokens: list[tuple[Field, int, Tensor, Tensor]] = []
        self.following = nn.ModuleList()
        if next_action and not self.behaviours:
            raise MtlError("encoder.next_action: needs a sequence or a history", "leave it out or add a history")
        if next_action:
            self.following.extend(NextAction(self.embedding_width) for _ in range(copies * len(self.behaviours)))
            # Counted, so that a resumed training draws what the interrupted one would have drawn.
            self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def predict_next(self, field: Field, copy: int, tokens: Tensor, known: Tensor) -> None:
        """Keep the tokens of a history's steps, [B, L, width], for the loss of this forward pass."""
        if self.predicts:
            self._tokens.append((field, copy, tokens, known))

    @property
    def predicts(self) -> bool:
        """True in a forward pass that has a loss of the next event."""
        return self.training and bool(self.following) and torch.is_grad_enabled()

    @override
    def forward(self, batch: Batch) -> Encoded:
        self._tokens = []
        encoded = super().forward(batch)
        tokens, self._tokens = self._tokens, []
        if tokens:
            self.get_buffer("draws").add_(1)
            with torch.autocast(encoded.z.device.type, enabled=False):
                parts = [self.row_loss(batch, *part) for part in tokens]
            self.auxiliary = {"next_action": Auxiliary(torch.stack(parts).mean(0), self.next_action)}
        return encoded

    def row_loss(self, batch: Batch, field: Field, copy: int, tokens: Tensor, known: Tensor) -> Tensor:
        """Loss of the next event in each row, [B], computed once per request where the tokens are of requests."""
        if batch.request is None or not (field.per_request and self.encodes_once(field)):
            return self.next_loss(batch.expand(), field, copy, tokens, known)
        return self.next_loss(batch, field, copy, tokens, known)[batch.request]

    def next_loss(self, batch: Batch, field: Field, copy: int, tokens: Tensor, known: Tensor) -> Tensor:
        """Loss of the next event in each row of a sequence or history, [B]."""
        if field.kind == "history":
            predicted, ids = field.steps_of_kind("categorical")[0], batch.steps[field.name].ids[:, :, 0]
        else:
            predicted, ids = field, batch.sequences[field.name]
        drawn = draw_ids(self.next_negatives, predicted.size, self.get_buffer("draws"))
        wanted = torch.cat([ids[:, 1:].flatten(), drawn])
        offset, start = self.table_offsets[predicted.table], copy * self.rows
        rows = torch.where(wanted > UNKNOWN, wanted + offset, 0) + start
        kind = torch.promote_types(tokens.dtype, torch.float32)
        later, others = self.table_rows(rows, padding=start).to(kind).split([ids[:, 1:].numel(), len(drawn)])
        later = later.view(*ids[:, 1:].shape, -1)
        loss: Tensor = self.following[self.number(field, copy)](tokens.to(kind), ids, known, later, drawn, others)
        return loss
