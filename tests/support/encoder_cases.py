"""A schema with fields of every kind, rows of it with padding, and encoders of it in float64."""

import torch

from mtl_lightning.batch import Batch
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.plugins import registry
from mtl_lightning.schema import Field, Schema

SCHEMA = Schema(
    (
        Field(name="a.user", kind="categorical", size=7, table="user"),
        Field(name="price", kind="numeric", edges=(-1.0, 0.0, 2.0)),
        Field(name="item", kind="categorical", size=9, table="item"),
        Field(name="the history", kind="sequence", size=9, table="item", length=4),
        Field(name="words", kind="sequence", size=20, table="words", length=3),
        Field(name="text", kind="vector", size=2),
    ),
    (),
)
NAMES = sorted(registry().names("encoder"))
MIXERS = {"masknet", "onetrans", "rankmixer", "wukong"}
"""Encoders whose fields have no slice of z."""


def encoder_batch(rows: int = 6, seed: int = 0) -> Batch:
    """Rows of ``SCHEMA``. The first has an empty history, the second one of two steps."""
    generator = torch.Generator().manual_seed(seed)

    def draw(top: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, top, shape, generator=generator)

    history = draw(9, rows, 4)
    history[0] = 0
    history[1, 2:] = 0
    return Batch(
        schema=SCHEMA,
        ids=torch.stack([draw(7, rows), draw(9, rows)], 1),
        dense=torch.randn(rows, 1, generator=generator, dtype=torch.float64),
        labels=torch.zeros(rows, 0),
        mask=torch.zeros(rows, 0, dtype=torch.bool),
        sequences={"the history": history, "words": draw(20, rows, 3)},
        vectors={"text": torch.randn(rows, 2, generator=generator, dtype=torch.float64)},
    )


def build_encoder(name: str, copies: int = 1, **options: object) -> EmbeddingEncoder:
    """A registered encoder of ``SCHEMA`` with embeddings of width 4; weights have a fixed seed."""
    torch.manual_seed(0)
    encoder: EmbeddingEncoder = registry().resolve("encoder", name)(SCHEMA, copies, **{"width": 4, **options}).double()
    return encoder


def plain_fields(encoder: EmbeddingEncoder, batch: Batch, **options: object) -> list[dict[str, torch.Tensor]]:
    """The fields' vectors that an encoder combines, by name, one mapping per table set.

    They are what ``embedding`` with these options gives for the encoder's own tables and numeric encodings.
    """
    plain = build_encoder("embedding", encoder.copies, **options)
    plain.load_state_dict({name: encoder.state_dict()[name] for name in plain.state_dict()})
    encoded = plain(batch)
    return [
        {name: encoded.copy(copy)[:, part] for name, part in plain.slices.items()} for copy in range(encoder.copies)
    ]
