"""SDIM: sums of the events that have a hash in common with the item at hand."""

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.batch import Batch, Steps
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

    Rows of a request that share a history share the sums of its buckets, R × 2^τ per history. Each event is added to R
    of them, once per request, and a row reads the R of its target. So a further candidate costs R vectors, whatever the
    length. Where there are more buckets in a round than events, each row has its own sums.

    Source: Cao et al., "Sampling Is All You Need on Modeling Long-Term User Behaviors for CTR Prediction", CIKM 2022,
    where 48 bits make R = 16 rounds of τ = 3. The paper's server keeps the sums of a user between requests; here they
    are formed in each request.

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
    def pool_rows(
        self, field: Field, vectors: Tensor, batch: Batch, known: Tensor, others: Tensor, copy: int
    ) -> Tensor:
        shared = batch.request is not None and field.per_request and field.name in self.targets
        if not shared or 2**self.bits > field.length:
            return super().pool_rows(field, vectors, batch, known, others, copy)
        assert batch.request is not None
        compared = vectors
        if field.kind == "history":
            with torch.no_grad():
                compared = self.compared_events(field, batch.steps[field.name].ids, copy)
        sums = self.bucket_sums(vectors, compared, known)
        hashes = self.codes(self.target(field, others))[0] + (batch.request * 2**self.bits).unsqueeze(1)
        places = hashes + torch.arange(self.rounds, device=hashes.device) * sums.shape[1]
        read = sums.flatten(0, 1).index_select(0, places.flatten()).view(-1, self.rounds, sums.shape[2])
        return self.average(read, vectors.dtype)

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
            [B, L, R], 1 or 0.
        """
        sign = torch.where(target @ self.hashes > 0, 1.0, -1.0).to(compared.dtype)
        # Bits are equal where the product with the target's sign is positive; τ slices of R columns are compared.
        equal = torch.bmm(compared, self.hashes * sign.unsqueeze(1)).gt_(0).split(self.rounds, dim=2)
        collided: Tensor = reduce(Tensor.mul_, equal)
        return collided

    @torch.no_grad()
    def codes(self, compared: Tensor) -> tuple[Tensor, Tensor]:
        """Hashes as numbers from 0 to 2^τ − 1.

        Args:
            compared: Vectors, [..., width].

        Returns:
            [..., R] int64, and where no bit is undecided (a product of 0), [..., R] bool.
        """
        bits = (compared @ self.hashes).unflatten(-1, (self.bits, self.rounds))
        values = 2 ** torch.arange(self.bits, device=bits.device)
        return ((bits > 0) * values.unsqueeze(1)).sum(-2), (bits != 0).all(-2)

    def bucket_sums(self, steps: Tensor, compared: Tensor, known: Tensor) -> Tensor:
        """Sums of the steps of each hash, [R, Q × 2^τ, width], at least float32.

        Args:
            steps: Vectors of the steps of Q histories, [Q, L, width].
            compared: Vectors that are hashed, [Q, L, width].
            known: Steps that count, [Q, L] bool.
        """
        codes, decided = self.codes(compared)
        count = steps.shape[0] * 2**self.bits
        first = torch.arange(steps.shape[0], device=steps.device).view(-1, 1, 1) * 2**self.bits
        # Steps that don't count go to a last place, which is cut off.
        places = torch.where(decided & known.unsqueeze(2), first + codes, count).flatten(0, 1)
        added = steps.flatten(0, 1).to(torch.promote_types(steps.dtype, torch.float32))
        nothing = added.new_zeros(count + 1, steps.shape[2])
        return torch.stack([nothing.index_add(0, column, added)[:-1] for column in places.unbind(1)])

    def sample(self, steps: Tensor, compared: Tensor, known: Tensor, target: Tensor) -> Tensor:
        """The mean over rounds of the normalised sums, [B, width].

        Args:
            steps: Vectors of steps, [B, L, width].
            compared: Vectors whose hashes are compared with the target's, [B, L, width].
            known: Steps that count, [B, L] bool.
            target: Vectors of targets, [B, width].
        """
        weights = self.collisions(compared, target).to(steps.dtype) * known.unsqueeze(2)
        return self.average(weights.transpose(1, 2) @ steps, steps.dtype)

    def average(self, sums: Tensor, dtype: torch.dtype) -> Tensor:
        """The mean over rounds of sums divided by their length, [B, R, width] → [B, width]."""
        # In half precision squares of small values are zero.
        sums = sums.to(torch.promote_types(sums.dtype, torch.float32))
        return functional.normalize(sums, dim=2, eps=1e-6).mean(1).to(dtype)
