"""Distribution of tables over processes by TorchRec's planner."""

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, PoolingType
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.planner.types import ParameterConstraints, PlannerError
from torchrec.distributed.types import ShardingEnv

from mtl_lightning.errors import MtlError
from mtl_lightning_torchrec.updates import TableUpdates, fuse

Sharding = Literal["auto", "table_wise", "column_wise", "row_wise"]
BLOCK = 4096
"""Number of rows drawn with one generator, so that a process draws only the blocks that it holds."""
KINDS = ("table_wise", "column_wise", "row_wise")
"""Kinds of sharding."""


@dataclass(frozen=True)
class Table:
    """An embedding table, over all processes.

    Args:
        name: Name of the table, without dots.
        rows: Number of ids.
        width: Width of an embedding.
        keys: Names of the lookups in this table.
    """

    name: str
    rows: int
    width: int
    keys: tuple[str, ...] = field(default=())


class _Sharder(EmbeddingBagCollectionSharder):
    """Sharder that allows row-wise sharding on CPU; TorchRec's excludes it, although gloo has reduce-scatter."""

    def sharding_types(self, compute_device_type: str) -> list[str]:
        return list(KINDS)


def shard(
    tables: Sequence[Table],
    device: torch.device,
    *,
    sharding: Sharding,
    partition: int,
    memory: float,
    optimizer: str,
    lr: float,
    eps: float,
) -> tuple[Any, TableUpdates, dict[str, str]]:
    """Plan the distribution of tables and build this process's part; a collective call.

    Args:
        tables: All tables.
        device: Device of this process.
        sharding: Kind of sharding of all tables, or ``auto`` for the planner's choice per table.
        partition: Smallest number of columns in a part; 0 for equal parts, in steps of 4.
        memory: Gigabytes of tables per process; 0 for the planner's assumption.
        optimizer: Name of the optimizer.
        lr: Learning rate.
        eps: Constant added to the denominator.

    Returns:
        The sharded collection, the optimizer that sets its learning rate, and the plan: kind and ranks per table.

    Raises:
        MtlError: If the tables do not fit into memory, or the optimizer has no kernel.
    """
    if not dist.is_initialized():  # a single process: the engine needs a group nevertheless
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    world = dist.get_world_size()
    configs = [
        EmbeddingBagConfig(
            name=table.name,
            num_embeddings=table.rows,
            embedding_dim=table.width,
            feature_names=list(table.keys),
            pooling=PoolingType.MEAN,
        )
        for table in tables
    ]
    collection = EmbeddingBagCollection(tables=configs, device=torch.device("meta"))
    fuse(collection.parameters(), optimizer, lr=lr, eps=eps)
    allowed = ["table_wise"] if world == 1 else list(KINDS) if sharding == "auto" else [sharding]
    constraints = {
        table.name: ParameterConstraints(
            sharding_types=allowed,
            compute_kernels=["fused"],
            min_partition=partition or max(4, table.width // world // 4 * 4),
        )
        for table in tables
    }
    gigabytes = {"hbm_cap" if device.type == "cuda" else "ddr_cap": int(memory * 2**30)} if memory else {}
    topology = Topology(
        world_size=world,
        compute_device=device.type,
        local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", world)),
        **gigabytes,
    )
    planner = EmbeddingShardingPlanner(topology=topology, constraints=constraints)
    sharder = _Sharder()
    group = dist.group.WORLD
    plan = _make_plan(planner, collection, sharder, group).plan[""]
    sharded = sharder.shard(collection, plan, ShardingEnv.from_process_group(group), device)
    summary = {name: f"{part.sharding_type} on {', '.join(map(str, part.ranks))}" for name, part in plan.items()}
    return sharded, TableUpdates(sharded.fused_optimizer, lr), summary


def _make_plan(planner: EmbeddingShardingPlanner, collection: Any, sharder: _Sharder, group: Any) -> Any:
    # Like planner.collective_plan, but an error of the first process reaches all others, which would wait forever.
    outcome: list[Any] = [None, ""]
    if dist.get_rank() == 0:
        try:
            outcome[0] = planner.plan(collection, [sharder])
        except PlannerError as error:
            outcome[1] = " ".join(str(error).split()).partition(". ")[0]  # the rest describes the planner
    dist.broadcast_object_list(outcome, 0, group=group)
    plan, reason = outcome
    if plan is None:
        raise MtlError(f"encoder: no plan for the tables: {reason}", "raise encoder.memory, or add processes")
    return plan


def draw(into: Tensor, seed: str, scale: float, rows: slice, columns: slice, width: int) -> None:
    """Fill a part of a table with normal random numbers that do not depend on the distribution of the table.

    Args:
        into: Values of the part, modified in place.
        seed: Seed of the table: the run's seed and the table's name.
        scale: Standard deviation.
        rows: Rows of the part.
        columns: Columns of the part.
        width: Width of the whole table.
    """
    for block in range(rows.start // BLOCK, -(-rows.stop // BLOCK)):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {block}".encode()))
        drawn = torch.randn(BLOCK, width, generator=generator) * scale
        first, last = max(rows.start, block * BLOCK), min(rows.stop, (block + 1) * BLOCK)
        into[first - rows.start : last - rows.start] = drawn[first - block * BLOCK : last - block * BLOCK, columns]


def weights(sharded: Any) -> dict[str, Any]:
    """Sharded tensor of each table."""
    return {key.split(".")[-2]: tensor for key, tensor in sharded.state_dict().items()}


def state(sharded: Any) -> dict[str, Any]:
    """Tables and their optimizer's state, in the form of ``torch.distributed.checkpoint``."""
    parts = {f"{name}.weight": tensor for name, tensor in weights(sharded).items()}
    moments: Mapping[str, Mapping[str, Any]] = sharded.fused_optimizer.state_dict()["state"]
    parts |= {key: value for table in moments.values() for key, value in table.items()}
    return parts


def local_parts(tensor: Any) -> list[tuple[slice, slice, Tensor]]:
    """This process's parts of a table: rows, columns and values of each part."""
    parts = []
    for part in tensor.local_shards():
        (row, column), (rows, columns) = part.metadata.shard_offsets, part.metadata.shard_sizes
        parts.append((slice(row, row + rows), slice(column, column + columns), part.tensor))
    return parts
