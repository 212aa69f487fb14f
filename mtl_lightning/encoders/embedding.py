"""One fused table for all ids, with encodings of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from mtl_lightning.batch import Batch, Encoded, Steps
from mtl_lightning.bounds import DropRate, NonNegativeFloat, NonNegativeInt, PositiveInt, Sizes
from mtl_lightning.encoders.numeric import NUMERIC_ENCODINGS
from mtl_lightning.encoders.projection import FieldProjection, slices_of
from mtl_lightning.encoders.steps import StepBuckets, relative_weights
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import Encoder
from mtl_lightning.layers import MLP
from mtl_lightning.schema import PADDING, Field, Schema
from mtl_lightning.training.rows import look_up


def _offsets(schema: Schema) -> tuple[dict[str, int], int]:
    """Row of id 0 of each vocabulary in the fused table, and the table's rows; id 0 itself is row 0 for all."""
    offsets, rows = {}, 1
    for table, size in schema.table_sizes.items():
        offsets[table] = rows - 1
        rows += size - 1
    return offsets, rows


def single(embedded: Tensor) -> Tensor:
    """Embeddings in float32 if their table is in bfloat16."""
    return embedded.float() if embedded.dtype == torch.bfloat16 else embedded


class EmbeddingEncoder(Encoder):
    """Embeddings of ids and numbers, means of sequences and histories, and vectors as they are.

    All tables are rows of one matrix, each at an offset, so that a batch costs one gather and one sparse gradient
    whatever the number of features. Row 0 represents padding and missing values: it is zero and stays zero.

    An event of a history is the sum of the embeddings of its ids and of learned vectors for the buckets of its numbers
    and of its gap (:class:`~mtl_lightning.encoders.steps.StepBuckets`). Weights of steps multiply these sums.

    Args:
        schema: Fitted schema.
        copies: Number of table sets; z is their concatenation, each followed by the numerics and vectors. Copies share
            no weights, vectors of numbers and attention included.
        width: Width of an embedding.
        hidden: Layer sizes of a shared MLP after the embeddings; empty for none. With it z is the MLP's output, so
            architectures that read slices of z by field (``pepnet``, ``poso``, ``stem``) cannot be used.
        dropout: Dropout of embeddings, pooled sequences and vectors, but not of numbers and preferences, and in that
            MLP.
        init_scale: Standard deviation of the initial embeddings.
        numeric: Encoding of numeric fields. ``plain``: the number itself, one column. ``piecewise``: a vector that is
            piecewise linear between the feature's quantiles. ``levels``: the same and a vector per bin. ``periodic``:
            a vector of sines and cosines with learned frequencies.
        numeric_width: Width of a numeric field's vector.
        pooling: Pooling of sequences and histories: the ``mean`` of the known steps, or their sum divided by the square
            root of their number (``sqrt``), which keeps the amount.
        step_dropout: Probability of leaving out a step of a sequence or history in training.
        projection: Width to which a linear layer per field maps its vector
            (:class:`~mtl_lightning.encoders.projection.FieldProjection`); 0 for none.
        table_dtype: Type of the stored embeddings. ``bfloat16`` halves their memory: an update is rounded at random, up
            or down, with its own value as the mean. It needs ``optimizer.tables`` ``rowwise_adagrad`` or ``lazy_adam``,
            whose state stays float32. Embeddings are float32 once looked up.

    Shapes: z is [B, copies × (fields × width + numerics × numeric_width + Σd)], with a projection [B, copies × all
        fields × projection], or [B, hidden[-1]]; a plain numeric takes one column.

    Example:
        >>> from mtl_lightning.schema import Field
        >>> schema = Schema((Field(name="user", kind="categorical", size=10, table="user"),), ())
        >>> batch = Batch(schema=schema, ids=torch.tensor([[3], [0]]), dense=torch.zeros(2, 0),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool))
        >>> z = EmbeddingEncoder(schema, 1, width=4)(batch).z
        >>> z.shape, bool((z[1] == 0).all())
        (torch.Size([2, 4]), True)
    """

    reads_requests = True

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        width: PositiveInt = 16,
        hidden: Sizes = (),
        dropout: DropRate = 0.0,
        init_scale: NonNegativeFloat = 0.05,
        numeric: Literal["plain", "piecewise", "levels", "periodic"] = "piecewise",
        numeric_width: PositiveInt = 16,
        pooling: Literal["mean", "sqrt"] = "mean",
        step_dropout: DropRate = 0.0,
        projection: NonNegativeInt = 0,
        table_dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        super().__init__()
        self.dropout, self.pooling, self.step_dropout, self.projection = dropout, pooling, step_dropout, projection
        self.schema = schema
        self.copies = copies
        self.embedding_width = width
        self.categorical = schema.of_kind("categorical")
        self.sequences = schema.of_kind("sequence")
        self.histories = schema.of_kind("history")
        self.vectors = schema.of_kind("vector")
        offsets, rows = _offsets(schema)
        lookups = [offsets[field.table] for field in self.categorical]
        lookups += [offsets[field.table] for field in self.sequences for _ in range(field.length)]
        self.register_buffer("offsets", torch.tensor(lookups, dtype=torch.int64), persistent=False)
        self.offsets: Tensor
        # Columns of ids of the row, then those that its request shares, and the places that bring them into order.
        columns = sorted(range(len(self.categorical)), key=lambda column: self.categorical[column].per_request)
        self.own = sum(not field.per_request for field in self.categorical)
        self.register_buffer("request_columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        self.register_buffer("request_order", torch.tensor(columns, dtype=torch.int64).argsort(), persistent=False)
        for i, field in enumerate(self.histories):
            places = [offsets[step.table] for step in field.steps_of_kind("categorical")]
            self.register_buffer(f"step_offsets_{i}", torch.tensor(places, dtype=torch.int64), persistent=False)
        self.rows, self.table_offsets = rows, offsets
        self.init_scale = init_scale
        self.table: nn.Embedding | None = None
        if offsets:  # the default type otherwise: float64 in tests
            dtype = torch.bfloat16 if table_dtype == "bfloat16" else None
            self.table = nn.Embedding(rows * copies, width, sparse=True, dtype=dtype)
            self.draw_tables()
        self.step_buckets = nn.ModuleList(
            nn.ModuleList(StepBuckets(field, width, init_scale) for field in self.histories)
            for _ in range(copies if self.histories else 0)
        )
        sizes = {field.name: width for field in (*self.categorical, *self.sequences, *self.histories)}
        self.embedded = slices_of(sizes)
        numerics = schema.of_kind("numeric")
        encoding = NUMERIC_ENCODINGS[numeric] if numerics else None
        self.numeric = nn.ModuleList(encoding(numerics, numeric_width) for _ in range(copies)) if encoding else None
        sizes |= {field.name: numeric_width if encoding else field.size for field in numerics}
        self.arrange(sizes | {field.name: field.size for field in self.vectors}, hidden)

    def arrange(self, sizes: Mapping[str, int], hidden: Sequence[int]) -> None:
        """Set up the fields' projections, their slices of z, its width, and the MLP on top.

        Args:
            sizes: Width of each field's vector, in the order of :meth:`forward`.
            hidden: Sizes of the MLP; empty for none.
        """
        self.sizes, width = dict(sizes), self.projection
        self.projections: nn.ModuleList | None = None
        if width and sizes:
            projections = (FieldProjection(list(sizes.values()), width) for _ in range(self.copies))
            self.projections, sizes = nn.ModuleList(projections), dict.fromkeys(sizes, width)
        self.field_slices = slices_of(sizes)
        self.fields_width = sum(sizes.values())
        self.width = self.fields_width * self.copies
        self.hidden = MLP(self.width, hidden, dropout=self.dropout) if hidden else None
        self.slices = {} if hidden else self.field_slices
        if hidden:
            self.width = hidden[-1]

    def mix(self, width: int, hidden: Sequence[int]) -> None:
        """Set the width of z and the MLP on top for an :meth:`interact` that mixes fields, so none has a slice of z.

        Args:
            width: Columns that :meth:`interact` returns.
            hidden: Sizes of the MLP; empty for none.

        Raises:
            MtlError: If there are no fields.
        """
        if not self.schema.fields:
            raise MtlError("encoder: needs features")
        self.slices, self.width = {}, width * self.copies
        if hidden:
            self.hidden = MLP(self.width, hidden, dropout=self.dropout)
            self.width = hidden[-1]

    def projected(self, part: Tensor, copy: int) -> Tensor:
        """Fields side by side, [B, Σ sizes], after their projections, if there are any."""
        if self.projections is None:
            return part
        mapped: Tensor = self.projections[copy](part)
        return mapped

    def table_parameters(self) -> list[nn.Parameter]:
        """The fused table."""
        return [] if self.table is None else list(self.table.parameters())

    def table_places(self, schema: Schema) -> list[dict[str, list[int]]]:
        """Vocabularies one after the other, as often as there are copies."""
        offsets, rows = _offsets(schema)
        places = {table: [offset + copy * rows for copy in range(self.copies)] for table, offset in offsets.items()}
        return [places] if places else []

    @torch.no_grad()
    def draw_tables(self, generator: torch.Generator | None = None) -> None:
        """Draw every row from a normal distribution; padding is zero."""
        if self.table is not None:
            self.table.weight.normal_(std=self.init_scale, generator=generator)
            self.table.weight[:: self.rows] = 0.0

    def known(self, batch: Batch) -> dict[str, Tensor]:
        """True at the steps that count, per sequence and history, [B, L]; in training some events are left out."""
        known = {name: ids != PADDING for name, ids in batch.sequences.items()}
        for field in self.histories:
            happened = batch.steps[field.name].known
            if self.training and self.step_dropout:
                happened = happened & (torch.rand(happened.shape, device=happened.device) >= self.step_dropout)
            known[field.name] = happened
        return known

    def lookup(self, batch: Batch, known: Mapping[str, Tensor], copy: int) -> list[Tensor]:
        """Embeddings of one table set: [B, C × width] for ids, then [B, L, width] per sequence and history.

        Fields that are constant within a request are looked up once per request. Their sequences and histories have R
        rows here.

        Args:
            batch: The batch.
            known: Steps that count; see :meth:`known`.
            copy: Number of the table set.
        """
        if self.table is None:
            return []
        ids, offsets = [batch.ids], [self.offsets[: len(self.categorical)]]
        if batch.request_row is not None and self.own < len(self.categorical):
            own, shared = columns = self.get_buffer("request_columns").tensor_split([self.own])
            ids = [batch.ids[:, own], batch.ids[batch.request_row][:, shared]]
            offsets = [self.offsets[part] for part in columns]
        ids += [batch.sequences[field.name] for field in self.sequences]
        if lengths := [field.length for field in self.sequences]:  # torch can't load a graph that splits into no parts
            offsets += self.offsets[len(self.categorical) :].split(lengths)
        # Filled, and not chosen by `where`, which makes a tensor of its number first.
        rows = [(part + places).masked_fill_(part == PADDING, 0) for part, places in zip(ids, offsets, strict=True)]
        for i, field in enumerate(self.histories):
            carried = torch.where(known[field.name].unsqueeze(2), batch.steps[field.name].ids, PADDING)
            rows.append(torch.where(carried == PADDING, 0, carried + self.get_buffer(f"step_offsets_{i}")).flatten(1))
        joined = torch.cat([part.flatten() for part in rows]) + copy * self.rows
        looked_up = self.table_rows(joined, padding=copy * self.rows).split([part.numel() for part in rows])
        embedded = [
            part.view(*places.shape, self.embedding_width) for part, places in zip(looked_up, rows, strict=True)
        ]
        first = embedded.pop(0)
        if len(ids) > 1 + len(self.sequences):
            assert batch.request is not None
            shared = embedded.pop(0).index_select(0, batch.request)
            first = torch.cat([first, shared], dim=1).index_select(1, self.get_buffer("request_order"))
        happened = [
            self.step_vectors(part, batch.steps[field.name], known[field.name], copy, i)
            for i, (field, part) in enumerate(zip(self.histories, embedded[len(self.sequences) :], strict=True))
        ]
        return [first.flatten(1), *embedded[: len(self.sequences)], *happened]

    def step_vectors(self, embedded: Tensor, steps: Steps, known: Tensor, copy: int, number: int) -> Tensor:
        """Add up what each event of a history carries, [B, L, width]; zero at steps that don't count.

        Args:
            embedded: Embeddings of its ids, [B, L × K, width].
            steps: Its events.
            known: Events that count, [B, L].
            copy: Number of the table set.
            number: Number of the history.
        """
        buckets = self.step_buckets[copy]
        assert isinstance(buckets, nn.ModuleList)
        total: Tensor = embedded.unflatten(1, steps.ids.shape[1:]).sum(2) + buckets[number](steps)
        weights = relative_weights(self.histories[number], steps, known)
        if weights is not None:
            total = total * weights.unsqueeze(2)
        return torch.where(known.unsqueeze(2), total, 0.0)

    def table_rows(self, rows: Tensor, padding: int) -> Tensor:
        """Rows of the fused table, [..., width]; the padding row gets no gradient."""
        assert self.table is not None
        if self.training and torch.is_grad_enabled():
            embedded = look_up(rows, self.table.weight, padding)
        else:
            embedded = functional.embedding(rows, self.table.weight, padding, sparse=True)
        return single(embedded)

    def pool(self, field: Field, steps: Tensor, known: Tensor, others: Tensor, copy: int) -> Tensor:
        """Pool a sequence or history into one vector, [B, width]: here the mean of its known steps, or zero.

        Args:
            field: The sequence or history.
            steps: Vectors of its steps, [B, L, width], zero where they don't count.
            known: Steps that count, [B, L] bool.
            others: Embeddings of the categorical fields, [B, C × width].
            copy: Number of the table set.
        """
        count = known.sum(1, keepdim=True).clamp(min=1)
        return steps.sum(1) / (count if self.pooling == "mean" else count.sqrt())

    def pool_history(
        self, field: Field, vectors: Tensor, steps: Steps, known: Tensor, others: Tensor, copy: int
    ) -> Tensor:
        """Pool a history into one vector, [B, width]: as :meth:`pool`, for encoders that also read gaps or ids.

        Args:
            field: The history.
            vectors: Vectors of its events, [B, L, width], zero where they don't count.
            steps: The events.
            known: Events that count, [B, L] bool.
            others: Embeddings of the categorical fields, [B, C × width].
            copy: Number of the table set.
        """
        return self.pool(field, vectors, known, others, copy)

    @override
    def encodes_once(self, field: Field) -> bool:
        """True: pooling reads nothing but the steps; for encoders that read the item at hand, override it."""
        return self.reads_requests

    def pool_rows(
        self, field: Field, vectors: Tensor, batch: Batch, known: Tensor, others: Tensor, copy: int
    ) -> Tensor:
        """Pool a sequence or history, which rows of a request may share, into one vector per row, [B, width].

        Args:
            field: The sequence or history.
            vectors: Vectors of its steps, [B, L, width], or [R, L, width] where they are constant within a request.
            batch: The batch.
            known: Steps that count, [B, L] or [R, L] bool.
            others: Embeddings of the categorical fields, [B, C × width].
            copy: Number of the table set.
        """
        index = batch.request if field.per_request else None
        once = index is not None and self.encodes_once(field)
        if once:
            others = vectors.new_zeros(vectors.shape[0], 0)  # the items at hand are of rows
        elif index is not None:
            batch, vectors, known = batch.expand(), vectors.index_select(0, index), known.index_select(0, index)
        if field.kind == "history":
            pooled = self.pool_history(field, vectors, batch.steps[field.name], known, others, copy)
        else:
            pooled = self.pool(field, vectors, known, others, copy)
        return pooled.index_select(0, index) if once and index is not None else pooled

    def select(self, batch: Batch, known: dict[str, Tensor], copy: int) -> tuple[Batch, dict[str, Tensor]]:
        """Choose the events of histories that are looked up and pooled: here all of them.

        Args:
            batch: The batch.
            known: Steps that count; see :meth:`known`.
            copy: Number of the table set.

        Returns:
            The batch, whose histories may be shorter, and its steps that count.
        """
        return batch, known

    def drop_steps(self, batch: Batch) -> Batch:
        """Replace some steps of the batch's sequences by padding in training (``step_dropout``)."""
        if not self.training or not self.step_dropout or not self.sequences:
            return batch
        sequences = {
            name: torch.where(torch.rand(ids.shape, device=ids.device) < self.step_dropout, PADDING, ids)
            for name, ids in batch.sequences.items()
        }
        return replace(batch, sequences=sequences)

    def drop_units(self, values: Tensor) -> Tensor:
        """Apply dropout to embeddings or a vector, [B, width]."""
        return functional.dropout(values, self.dropout, self.training) if self.dropout else values

    def interact(self, part: Tensor, copy: int) -> Tensor:
        """Combine the fields side by side, [B, D / copies]: here they stay as they are."""
        return part

    def combine(
        self,
        ids: Tensor,
        listed: Sequence[Tensor],
        others: Sequence[Tensor],
        batch: Batch,
        known: Mapping[str, Tensor],
        copy: int,
    ) -> Tensor:
        """Combine all fields of one table set, [B, D / copies]: pooled, side by side, projected, and mixed.

        Args:
            ids: Embeddings of the categorical fields, [B, C × width].
            listed: Vectors of the steps of each sequence and history, [B, L, width], or [R, L, width].
            others: Encodings of numbers, then vectors, each [B, any].
            batch: The batch, whose histories have the same events as ``listed``.
            known: Steps that count; see :meth:`known`.
            copy: Number of the table set.
        """
        pooled = [
            self.pool_rows(field, steps, batch, known[field.name], ids, copy)
            for field, steps in zip((*self.sequences, *self.histories), listed, strict=True)
        ]
        embedded = [self.drop_units(torch.cat([ids, *pooled], dim=1))] if self.dropout else [ids, *pooled]
        return self.interact(self.projected(torch.cat([*embedded, *others], dim=1), copy), copy)

    def forward(self, batch: Batch) -> Encoded:
        """Encode a batch: z [B, D]."""
        vectors = []
        for field in self.vectors:
            part = batch.vectors[field.name]
            if batch.request is not None and field.per_request:
                part = part.index_select(0, batch.request)
            vectors.append(part if field.tasks else self.drop_units(part))
        parts, seen = [], self.drop_steps(batch)
        known = self.known(seen)
        for copy in range(self.copies):
            read, counted = self.select(seen, known, copy)
            ids, *listed = self.lookup(read, counted, copy) or [batch.dense[:, :0]]
            numbers = batch.dense if self.numeric is None else self.numeric[copy](batch.dense)
            parts.append(self.combine(ids, listed, [numbers, *vectors], read, counted, copy))
        z = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        if self.hidden is not None:
            return Encoded(self.hidden(z), batch)
        return Encoded(z, batch, self.slices, self.copies)
