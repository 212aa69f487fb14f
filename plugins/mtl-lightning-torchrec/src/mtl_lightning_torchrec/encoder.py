"""Encoder with tables that TorchRec distributes over processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.nn import functional
from torchrec import KeyedJaggedTensor

from mtl_lightning.batch import Batch, Encoded
from mtl_lightning.bounds import NonNegativeFloat, NonNegativeInt, Sizes
from mtl_lightning.errors import MtlError
from mtl_lightning.interfaces import PADDING, EmbeddingEncoder, Schema, ShardedEncoder
from mtl_lightning_torchrec.sharding import Sharding, Table, draw, local_parts, shard, state, weights
from mtl_lightning_torchrec.updates import TableUpdates


class TorchRecEncoder(ShardedEncoder, EmbeddingEncoder):
    """The encoder ``embedding`` with tables of any size, which TorchRec's planner distributes over the processes.

    In training and validation, every process holds its part and updates it in the backward pass (FBGEMM's exact
    kernels). Without a Trainer (prediction, export), the process reads all tables.

    Source: Ivchenko et al., "TorchRec: a PyTorch Domain Library for Recommendation Systems", RecSys 2022.

    Args:
        schema: Fitted schema.
        copies: Number of table sets; z is their concatenation, each followed by the numerics and vectors.
        sharding: ``table_wise``, ``column_wise`` or ``row_wise`` for all tables, or ``auto``: the planner chooses.
        partition: Smallest number of columns in a part, a multiple of 4; 0 for equal parts.
        memory: Gigabytes of tables per process; 0 for the planner's assumption.
        options: Options of :class:`EmbeddingEncoder`; ``width`` must be a multiple of 4.

    Shapes: z as for :class:`EmbeddingEncoder`.

    Raises:
        MtlError: If the width is not a multiple of 4, or the table optimizer has no kernel.

    Example:
        >>> from mtl_lightning.schema import Field
        >>> schema = Schema((Field(name="user", kind="categorical", size=10, table="user"),), ())
        >>> batch = Batch(schema=schema, ids=torch.tensor([[3], [0]]), dense=torch.zeros(2, 0),
        ...               labels=torch.zeros(2, 0), mask=torch.zeros(2, 0, dtype=torch.bool))
        >>> z = TorchRecEncoder(schema, 1, width=4)(batch).z
        >>> z.shape, bool((z[1] == 0).all())
        (torch.Size([2, 4]), True)
    """

    reads_requests = False

    def __init__(
        self,
        schema: Schema,
        copies: int,
        *,
        hidden: Sizes = (),
        init_scale: NonNegativeFloat = 0.05,
        sharding: Sharding = "auto",
        partition: NonNegativeInt = 0,
        memory: NonNegativeFloat = 0.0,
        **options: Any,
    ) -> None:
        if histories := schema.of_kind("history"):
            reason = f"encoder torchrec does not read histories, such as {histories[0].name!r}"
            raise MtlError(reason, "choose embedding, din or transformer")
        categorical, sequences = schema.of_kind("categorical"), schema.of_kind("sequence")
        others = tuple(field for field in schema.fields if field.kind not in ("categorical", "sequence"))
        super().__init__(replace(schema, fields=others), copies, **options)  # without fields that need tables
        self.schema, self.categorical, self.sequences = schema, categorical, sequences
        width = self.embedding_width
        if width % 4 or partition % 4:
            raise MtlError(f"encoder torchrec: width {width} and partition {partition} must be multiples of 4")
        self.init_scale = init_scale
        self.plan = {"sharding": sharding, "partition": partition, "memory": memory}
        fields = (*self.categorical, *self.sequences)
        self.tables = [
            Table(f"{name}__{copy}", rows, width, tuple(f"{f.name}__{copy}" for f in fields if f.table == name))
            for copy in range(copies)
            for name, rows in schema.table_sizes.items()
        ]
        self.table_size = sum(table.rows * table.width for table in self.tables)
        self.keys = [[f"{field.name}__{copy}" for field in fields] for copy in range(copies)]
        self.of_field = {key: table.name for table in self.tables for key in table.keys}
        self.arrange({field.name: width for field in fields} | self.sizes, hidden)
        self.seed = int(torch.randint(2**31, ()))
        self.shards_plan: dict[str, str] = {}
        # Not a submodule: DDP, state_dict and moves to a device must not touch the tables.
        self._engine: list[Any] = []
        self._full: dict[str, Tensor] = {}

    # tables

    def distribute(self, device: torch.device, *, optimizer: str, lr: float, eps: float) -> TableUpdates:
        """Plan the distribution and initialise this process's part; see :class:`ShardedEncoder`."""
        sharded, updates, self.shards_plan = shard(
            self.tables,
            device,
            optimizer=optimizer,
            lr=lr,
            eps=eps,
            **self.plan,  # type: ignore[arg-type]
        )
        with torch.no_grad():
            for name, tensor in weights(sharded).items():
                for rows, columns, values in local_parts(tensor):
                    draw(values, f"{self.seed} {name}", self.init_scale, rows, columns, self.embedding_width)
        self._engine, self._full = [sharded], {}
        return updates

    def save_shards(self, folder: Path) -> None:
        """Write this process's part; see :class:`ShardedEncoder`."""
        dcp.save(state(self._engine[0]), checkpoint_id=folder)

    def load_shards(self, folder: Path) -> None:
        """Read this process's part, or all tables without a Trainer; see :class:`ShardedEncoder`."""
        if self._engine:
            tensors = state(self._engine[0])
        else:
            tensors = {f"{name}.weight": table for name, table in self.full_tables().items()}
        try:
            dcp.load(tensors, checkpoint_id=folder, no_dist=not self._engine)
        except (dcp.api.CheckpointException, RuntimeError, ValueError) as error:
            raise MtlError(
                f"the tables in {folder} can't be loaded: {str(error).strip().splitlines()[-1]}",
                "they were saved with another optimizer.tables, or by columns with rowwise_adagrad on other processes",
            ) from error

    def full_tables(self) -> dict[str, Tensor]:
        """All tables in this process, [V, width] each, if no Trainer has distributed them."""
        if not self._full:
            for table in self.tables:
                values = self._full[table.name] = torch.empty(table.rows, table.width)
                rows, columns = slice(0, table.rows), slice(0, table.width)
                draw(values, f"{self.seed} {table.name}", self.init_scale, rows, columns, table.width)
        return self._full

    def get_extra_state(self) -> dict[str, Any]:
        """Folder of the tables, and seed of tables that were not saved."""
        return {**super().get_extra_state(), "seed": self.seed}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Load the tables."""
        if state["seed"] != self.seed:
            self.seed, self._full = state["seed"], {}
        super().set_extra_state(state)

    def table_places(self, schema: Schema) -> list[dict[str, list[int]]]:
        """Empty, because the tables are not parameters, and the planner decides where rows are."""
        return []

    # forward

    def _known(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """Known ids field by field, and their counts [fields, rows]; rows beyond the batch have count 0."""
        ids = batch.ids.T
        values, counts = [ids[ids != PADDING]], [(ids != PADDING).long()]
        for field in self.sequences:
            steps = batch.sequences[field.name]
            values.append(steps[steps != PADDING])
            counts.append((steps != PADDING).sum(1).unsqueeze(0))
        return torch.cat(values), functional.pad(torch.cat(counts), (0, rows - len(batch)))

    def _embed_distributed(self, batch: Batch) -> list[Tensor]:
        """Pooled embeddings per copy, [B, fields × width], from the tables of all processes."""
        rows = len(batch)
        if any(kind.startswith("row_wise") for kind in self.shards_plan.values()):
            # Reduce-scatter requires equally many rows on all processes; parts of a global batch differ by one.
            most = torch.tensor(rows, device=batch.ids.device)
            dist.all_reduce(most, dist.ReduceOp.MAX)
            rows = int(most)
        values, counts = self._known(batch, rows)
        keys = [key for copy in self.keys for key in copy]
        lookups = KeyedJaggedTensor(keys, values.repeat(self.copies), lengths=counts.flatten().repeat(self.copies))
        if self.training and self.updates is not None:
            cast(TableUpdates, self.updates).refresh()
        pooled = self._engine[0](lookups).to_dict()
        return [torch.cat([pooled[key][: len(batch)] for key in copy], dim=1) for copy in self.keys]

    def _embed_locally(self, batch: Batch) -> list[Tensor]:
        """Pooled embeddings per copy, [B, fields × width], from the tables in this process."""
        tables = self.full_tables()
        parts = []
        for copy in self.keys:
            names = [self.of_field[key] for key in copy]
            columns = [
                functional.embedding(batch.ids[:, i], tables[name].to(batch.ids.device), padding_idx=PADDING)
                * (batch.ids[:, i, None] != PADDING)
                for i, name in enumerate(names[: len(self.categorical)])
            ]
            for field, name in zip(self.sequences, names[len(self.categorical) :], strict=True):
                steps = batch.sequences[field.name]
                known = (steps != PADDING).unsqueeze(2)
                embedded = functional.embedding(steps, tables[name].to(steps.device)) * known
                columns.append(embedded.sum(1) / known.sum(1).clamp(min=1))
            parts.append(torch.cat(columns, dim=1))
        return parts

    def _weighted(self, part: Tensor, batch: Batch) -> Tensor:
        """Convert means of sequences to sums / √steps if ``pooling`` is ``sqrt``, [B, fields × width]."""
        if self.pooling == "mean" or not self.sequences:
            return part
        ids = part.new_ones(len(batch), len(self.categorical))
        steps = [(batch.sequences[field.name] != PADDING).sum(1, keepdim=True).sqrt() for field in self.sequences]
        return part * torch.cat([ids, *steps], dim=1).repeat_interleave(self.embedding_width, dim=1)

    def forward(self, batch: Batch) -> Encoded:
        """Encode a batch: z [B, D]."""
        numbers = (
            [batch.dense] * self.copies if self.numeric is None else [layer(batch.dense) for layer in self.numeric]
        )
        vectors = [self.drop_units(batch.vectors[field.name]) for field in self.vectors]
        embedded = [batch.dense[:, :0]] * self.copies
        if self.tables:
            seen = self.drop_steps(batch)
            pooled = self._embed_distributed(seen) if self._engine else self._embed_locally(seen)
            embedded = [self.drop_units(self._weighted(part, seen)) for part in pooled]
        copies = enumerate(zip(embedded, numbers, strict=True))
        parts = [self.projected(torch.cat([ids, dense, *vectors], dim=1), copy) for copy, (ids, dense) in copies]
        z = torch.cat(parts, dim=1)
        if self.hidden is not None:
            return Encoded(self.hidden(z), batch)
        return Encoded(z, batch, self.slices, self.copies)
