"""Architectures with a small encoder and a batch that fits them."""

import torch

from mtl_lightning.architectures.example import example
from mtl_lightning.batch import Batch
from mtl_lightning.interfaces import Architecture, Encoder
from mtl_lightning.plugins import registry


def build_architecture(
    name: str, tasks: int = 3, rows: int = 6, dtype: torch.dtype = torch.float64, **options: object
) -> tuple[Architecture, Encoder, Batch]:
    """A registered architecture with ``options``, its encoder, and a batch; weights have a fixed seed."""
    kind = registry().resolve("architecture", name)
    schema, encoder, batch = example(tasks, copies=kind.table_copies(tasks, **options), rows=rows)
    torch.manual_seed(1)
    encoder.to(dtype)
    architecture = kind(schema, encoder, **options).to(dtype)
    return architecture, encoder, batch.map(lambda x: x.to(dtype) if x.is_floating_point() else x)
