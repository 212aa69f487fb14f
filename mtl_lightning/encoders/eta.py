"""ETA: attention over the events whose hash is nearest to the hash of the item at hand."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from mtl_lightning.batch import Batch
from mtl_lightning.bounds import PositiveInt
from mtl_lightning.encoders.search import SearchEncoder
from mtl_lightning.schema import Field, Schema


class ETAEncoder(SearchEncoder):
    """End-to-end target attention: the ``top`` events with the smallest Hamming distance to the target's hash.

    SimHash gives bit i of a vector e as [e · h_i > 0], where h_i are fixed random directions. The share of different
    bits of two vectors estimates the angle between them, divided by π. Hashed are the sums of the embeddings of the
    vocabularies that event and row share; of equal distances the later event counts. The attention
    (:class:`~mtl_lightning.encoders.search.TargetAttention`) then reads all that the chosen events carry.

    Source: Chen et al., "End-to-End User Behavior Retrieval in Click-Through Rate Prediction Model", 2021
    (arXiv:2108.04468), sections 4.2 and 4.3; SimHash: Charikar, STOC 2002. Hashes are computed in every step from the
    present embeddings. The paper stores them next to the embeddings for serving, which this encoder does not.

    Args:
        schema: Fitted schema.
        copies: Number of table sets; each searches with its own tables.
        bits: Number of bits of a hash.
        options: Options of :class:`~mtl_lightning.encoders.search.SearchEncoder`.

    Shapes: z as of :class:`~mtl_lightning.encoders.embedding.EmbeddingEncoder`.

    Example:
        >>> from mtl_lightning.testing import example_batch, example_schema
        >>> schema = example_schema(kinds=["categorical", "history"])
        >>> ETAEncoder(schema, 1, width=4, top=2)(example_batch(schema, rows=3)).z.shape
        torch.Size([3, 16])
    """

    hashes: Tensor
    """Directions h_i, [width, bits]; saved with the weights."""

    def __init__(self, schema: Schema, copies: int, *, bits: PositiveInt = 32, **options: Any) -> None:
        super().__init__(schema, copies, **options)
        self.bits = bits
        self.register_buffer("hashes", torch.randn(self.embedding_width, bits))

    @override
    def search(self, field: Field, ids: Tensor, known: Tensor, batch: Batch, copy: int) -> tuple[Tensor, Tensor]:
        vectors, target = self.compared_events(field, ids, copy), self.compared_target(field, batch, copy)
        wanted = target @ self.hashes > 0
        # 1 per bit set in both, −1 per bit set in the event alone; bits that are 0 in both are added below.
        bits = (vectors @ self.hashes).gt_(0)
        signs = torch.where(wanted, 1.0, -1.0).to(bits.dtype).unsqueeze(1)
        counts = bits.mul_(signs).sum(2, dtype=torch.float32)  # exact, whatever the precision of bits
        return counts.to(torch.int64) + self.bits - wanted.sum(1, keepdim=True), known
