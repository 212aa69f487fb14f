"""A tiny schema, encoder and batch, for the examples in docstrings."""

import torch

from mtl_lightning.batch import Batch
from mtl_lightning.encoders.embedding import EmbeddingEncoder
from mtl_lightning.schema import Field, Schema, Task


def example(tasks: int = 2, *, copies: int = 1, rows: int = 4) -> tuple[Schema, EmbeddingEncoder, Batch]:
    """Fields ``user``, ``item``, ``scenario`` and ``price``, binary tasks ``a``, ``b`` …, and random rows.

    Args:
        tasks: Number of tasks.
        copies: Number of table sets of the encoder.
        rows: Rows of the batch.

    Returns:
        Schema, encoder (embeddings of width 4, so D = 13 per copy) and batch.

    Example:
        >>> schema, encoder, batch = example()
        >>> list(schema.task_index), encoder(batch).z.shape
        (['a', 'b'], torch.Size([4, 13]))
    """
    generator = torch.Generator().manual_seed(0)
    names = ("user", "item", "scenario")
    fields = tuple(Field(name=name, kind="categorical", size=6, table=name) for name in names)
    schema = Schema(
        (*fields, Field(name="price", kind="numeric")),
        tuple(Task(name=chr(ord("a") + i), kind="binary", label=chr(ord("a") + i)) for i in range(tasks)),
    )
    batch = Batch(
        schema=schema,
        ids=torch.randint(0, 6, (rows, 3), generator=generator),
        dense=torch.randn(rows, 1, generator=generator),
        labels=torch.randint(0, 2, (rows, tasks), generator=generator).float(),
        mask=torch.ones(rows, tasks, dtype=torch.bool),
    )
    return schema, EmbeddingEncoder(schema, copies, width=4, numeric="plain"), batch
