"""Base of encoders that read a sequence or history by the item at hand."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.batch import Batch
from mtl_lightning.encoders.attention import sum_of, targets
from mtl_lightning.encoders.embedding import EmbeddingEncoder, single
from mtl_lightning.schema import PADDING, Field, Schema


class TargetEncoder(EmbeddingEncoder):
    """Embeddings with the target of each sequence and history, and a number for its modules.

    The target of a sequence is the embedding of the categorical field whose table it shares; the target of a history is
    the sum over the categorical fields whose tables its ids share.

    Args:
        schema: Fitted schema.
        copies: Number of table sets.
        options: Options of :class:`EmbeddingEncoder`.

    Example:
        >>> item = Field(name="item", kind="categorical", size=9, table="item")
        >>> seen = Field(name="seen", kind="sequence", size=9, table="item", length=3)
        >>> encoder = TargetEncoder(Schema((item, seen), ()), 2, width=4)
        >>> encoder.targets, encoder.number(seen, copy=1)
        ({'seen': ('item',)}, 1)
    """

    def __init__(self, schema: Schema, copies: int, **options: Any) -> None:
        super().__init__(schema, copies, **options)
        self.behaviours = (*self.sequences, *self.histories)
        self.targets = targets(self.categorical, self.behaviours)
        # By number: a feature's name may not be a valid name of a module.
        self.numbers = {field.name: i for i, field in enumerate(self.behaviours)}
        tables = {field.table for field in self.categorical}
        self.columns = {
            field.name: [i for i, step in enumerate(field.steps_of_kind("categorical")) if step.table in tables]
            for field in self.histories
        }
        """Columns of a history's ids whose tables a categorical field shares."""

    def add_readers(self, init_scale: float) -> None:
        """Create a learned vector for each sequence and history without a target.

        Args:
            init_scale: Standard deviation of the initial vectors.
        """
        alone = [field.name for field in self.behaviours if field.name not in self.targets]
        self.reader_numbers = {name: i for i, name in enumerate(alone)}
        self.readers = nn.ParameterList(
            nn.Parameter(torch.randn(self.embedding_width) * init_scale) for _ in alone * self.copies
        )

    @override
    def encodes_once(self, field: Field) -> bool:
        return self.reads_requests and field.name not in self.targets

    def number(self, field: Field, copy: int) -> int:
        """Number of the module of a field and a copy."""
        return copy * len(self.numbers) + self.numbers[field.name]

    def target(self, field: Field, others: Tensor) -> Tensor:
        """The target's vector, [B, width]; only for fields in ``targets``."""
        return sum_of(others[:, self.embedded[name]] for name in self.targets[field.name])

    def target_or_reader(self, field: Field, others: Tensor, copy: int) -> Tensor:
        """The target's vector or, where there is no target, a learned one, [B, width]."""
        if field.name in self.targets:
            return self.target(field, others)
        reader = copy * len(self.reader_numbers) + self.reader_numbers[field.name]
        vector: Tensor = self.readers[reader]
        # ``len`` would fix the number of rows of an exported program.
        return vector.expand(others.shape[0], -1)

    def compared_events(self, field: Field, ids: Tensor, copy: int) -> Tensor:
        """Events of a history as vectors that are comparable with its target, [B, L, width].

        Args:
            field: The history.
            ids: Ids of its events, [B, L, K].
            copy: Number of the table set.

        Returns:
            Sums of the embeddings of the ids whose tables the target shares.
        """
        assert self.table is not None
        offsets, start = self.get_buffer(f"step_offsets_{self.histories.index(field)}"), copy * self.rows
        parts = []
        for column in self.columns[field.name]:
            carried = ids[:, :, column]
            rows = torch.where(carried == PADDING, 0, carried + offsets[column]) + start
            parts.append(single(functional.embedding(rows, self.table.weight)))
        return sum_of(parts)

    def compared_target(self, field: Field, batch: Batch, copy: int) -> Tensor:
        """The target's vector by a lookup of its own, [B, width]."""
        assert self.table is not None
        names = [part.name for part in self.categorical]
        places = [names.index(name) for name in self.targets[field.name]]
        carried = batch.ids[:, places]
        rows = torch.where(carried == PADDING, 0, carried + self.offsets[places]) + copy * self.rows
        vectors = single(functional.embedding(rows, self.table.weight))
        return sum_of(vectors.unbind(1))
