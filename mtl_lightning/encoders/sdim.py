"""SDIM: sums of the events that have a hash in common with the item at hand."""

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.batch import Steps
from mtl_lightning.bounds import PositiveInt
from mtl_lightning.encoders.target import TargetEncoder
from mtl_lightning.schema import Field, Schema


class SDIMEncoder(TargetEncoder):
    """Sampling-based deep interest: events whose hash equals the target's are added up, for several hashes.

    A history is (1/R) Σ_r ℓ₂(Σ_j [h_r(e_j) = h_r(t)] e_j) over R rounds, where ℓ₂ divides a vector by its length. A
    hash h_r consists of τ bits, the signs of inner products with fixed random directions. An event at angle θ to the
    target collides in a round with probability (1 − θ/π)^τ, so that rounds estimate an attention with this weight.
    Hashed are the embeddings of the vocabularies that event and row share, added up; e_j above is all that the event
    carries. No weight is learned beyond the embeddings. An event whose compared ids are all missing collides with none.

    A larger τ leaves out more of the events that differ from the target: 2^−τ of those at a right angle collide. The
    longer the history, the larger it should be.

    Source: Cao et al., "Sampling Is All You Need on Modeling Long-Term User Behaviors for CTR Prediction", CIKM 2022,
    where 48 bits make R = 16 rounds of τ = 3. The paper's server, which keeps the sums of all buckets of a user between
    requests, is not part of this encoder.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        rounds: Number R of hashes.
        bits: Number τ of bits of a hash.
        options: Options of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`.

    Shapes: z as of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`. A sequence or history without a target
        is the mean of its steps.

    Example:
        >>> from mtl_lightning.testing import example_batch, example_schema
        >>> schema = example_schema(kinds=["categorical", "history"])
        >>> SDIMEncoder(schema, 1, width=4)(example_batch(schema, rows=3)).z.shape
        torch.Size([3, 16])
    """

    hashes: Tensor
    """Random directions, [width, τ × R], bit by bit; saved with the weights."""

    def __init__(
        self, schema: Schema, copies: int, *, rounds: PositiveInt = 16, bits: PositiveInt = 3, **options: Any
    ) -> None:
        super().__init__(schema, copies, **options)
        self.rounds, self.bits = rounds, bits
        self.register_buffer("hashes", torch.randn(self.embedding_width, rounds * bits))

    @override
    def pool(self, field: Field, steps: Tensor, known: Tensor, others: Tensor, copy: int) -> Tensor:
        if field.name not in self.targets:
            return super().pool(field, steps, known, others, copy)
        return self.sample(steps, steps, known, self.target(field, others))

    @override
    def pool_history(
        self, field: Field, vectors: Tensor, steps: Steps, known: Tensor, others: Tensor, copy: int
    ) -> Tensor:
        if field.name not in self.targets:
            return super().pool_history(field, vectors, steps, known, others, copy)
        with torch.no_grad():
            compared = self.compared_events(field, steps.ids, copy)
        return self.sample(vectors, compared, known, self.target(field, others))

    @torch.no_grad()
    def collisions(self, compared: Tensor, target: Tensor) -> Tensor:
        """Events whose hash equals the target's, per round.

        Args:
            compared: Vectors of events, [B, L, width].
            target: Vectors of targets, [B, width].

        Returns:
            [B, L, R] bool.
        """
        sign = torch.where(target @ self.hashes > 0, 1.0, -1.0).to(compared.dtype)
        # Bits are equal where the product with the target's sign is positive; τ slices of R columns are compared.
        bits = torch.bmm(compared, self.hashes * sign.unsqueeze(1)).split(self.rounds, dim=2)
        collided: Tensor = reduce(torch.minimum, bits) > 0
        return collided

    def sample(self, steps: Tensor, compared: Tensor, known: Tensor, target: Tensor) -> Tensor:
        """The mean over rounds of the normalised sums, [B, width].

        Args:
            steps: Vectors of steps, [B, L, width].
            compared: Vectors whose hashes are compared with the target's, [B, L, width].
            known: Steps that count, [B, L] bool.
            target: Vectors of targets, [B, width].
        """
        weights = (self.collisions(compared, target) & known.unsqueeze(2)).to(steps.dtype)
        sums = weights.transpose(1, 2) @ steps
        # In half precision squares of small values are zero.
        sums = sums.to(torch.promote_types(sums.dtype, torch.float32))
        return functional.normalize(sums, dim=2, eps=1e-6).mean(1).to(steps.dtype)
