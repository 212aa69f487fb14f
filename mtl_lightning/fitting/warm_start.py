"""Warm start from an earlier run: known rows of embedding tables keep their values, dense weights are copied."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from mtl_lightning.errors import ConfigError, Problem
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.optimizer_state import check_table_state
from mtl_lightning.runs.resumption import check_saved_module
from mtl_lightning.schema import UNKNOWN, Schema
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.optimizer import CompositeOptimizer

NETWORK, WEIGHTER = "network.", "weighter."
COMPARED = ("encoder", "architecture", "heads")
"""Sections of a recipe that determine the names and shapes of weights."""
SHOWN = 8
FIRST = UNKNOWN + 1


@dataclass(frozen=True)
class Copied:
    """Weights that a warm start copied or left out, besides the rows of embedding tables.

    Args:
        fresh: Weights of tasks that are missing in the earlier run; they keep their initial values.
        left: Weights of tasks that are missing in this run.
        weighter: True if the weighter's parameters were copied. Its buffers never are.
    """

    fresh: tuple[str, ...]
    left: tuple[str, ...]
    weighter: bool


class WarmStart:
    """An earlier run to start from.

    Args:
        path: Its directory.
        stayed: Earlier ids that still have a place, by table that ids have left; see
            :func:`~mtl_lightning.data.preparation.growth.stayed`.

    Raises:
        MtlError: If it is not a run directory, or has no checkpoint; from :meth:`copy`, if its weights don't fit.

    Example:
        ``WarmStart("runs/ads/monday").copy(module)``, where the module's data extend the run's transforms
    """

    def __init__(self, path: Path | str, stayed: Mapping[str, np.ndarray] | None = None) -> None:
        self.stayed = {table: torch.from_numpy(ids) for table, ids in (stayed or {}).items()}
        self.run = RunDirectory.open(path)
        self.weights = self.run.weights()

    def copy(self, module: MultiTaskModule) -> Copied:
        """Copy the best weights into a module that was built for the new schema.

        Args:
            module: The module. Its vocabularies extend the vocabularies of the run, with the same ids.
        """
        checkpoint = AtomicCheckpointIO(expect=check_saved_module).load_checkpoint(self.weights)
        saved = checkpoint["mtl_lightning"]
        schema, config = Schema.from_dict(saved["schema"]), saved["config"]
        old: dict[str, Tensor] = checkpoint["state_dict"]
        before, now = set(schema.task_index), set(module.schema.task_index)
        state = {NETWORK + name: value for name, value in module.network.state_dict(keep_vars=True).items()}
        tables = {id(table): i for i, table in enumerate(module.network.encoder.table_parameters())}
        pairs: list[tuple[Tensor, Tensor]] = []
        problems: list[Problem] = []
        fresh: list[str] = []
        for name, value in state.items():
            if not isinstance(old.get(name), Tensor):
                if _belongs(name, now - before):
                    fresh.append(name)
                else:
                    problems.append(Problem(name, "is not in the earlier run"))
            elif id(value) in tables:
                rows = table_rows(module, schema, tables[id(value)], value, old[name], self.stayed)
                if rows is None:
                    reason = f"is {_size(value)}, was {_size(old[name])}"
                    problems.append(Problem(name, reason, "not an extension of the earlier table"))
                else:
                    pairs += [(value[new], old[name][was]) for new, was in rows]
            elif value.shape != old[name].shape:
                hint = _hint_for_values(schema, module.schema, old[name], value)
                problems.append(Problem(name, f"is {_size(value)}, was {_size(old[name])}", hint))
            else:
                pairs.append((value, old[name]))
        left = [name for name in old if name.startswith(NETWORK) and name not in state]
        problems += [Problem(name, "is in the earlier run only") for name in left if not _belongs(name, before - now)]
        if problems:
            raise ConfigError([*_differences(config, module.config), *_shortened(problems)])
        weighter_pairs = _weighter_pairs(module, schema, config, old)
        pairs += weighter_pairs or ()
        with torch.no_grad():
            for target, source in pairs:
                target.copy_(source)
        return Copied(tuple(fresh), tuple(left), weighter_pairs is not None)


def _weighter_pairs(
    module: MultiTaskModule, schema: Schema, config: Mapping[str, Any], old: Mapping[str, Tensor]
) -> list[tuple[Tensor, Tensor]] | None:
    """Parameters of the weighter with their earlier values; None unless method, tasks and shapes are the same."""
    own = {WEIGHTER + name: value for name, value in module.weighter.named_parameters()}
    same_method = _section(config, "weighter").get("name") == _section(module.config, "weighter").get("name")
    same_tasks = tuple(schema.task_index) == tuple(module.schema.task_index)
    same_shapes = all(name in old and old[name].shape == value.shape for name, value in own.items())
    if not (same_method and same_tasks and same_shapes):
        return None
    return [(value, old[name]) for name, value in own.items()]


def table_rows(
    module: MultiTaskModule,
    before: Schema,
    index: int,
    new: Tensor,
    old: Tensor,
    stayed: Mapping[str, Tensor] = MappingProxyType({}),
) -> list[tuple[slice, slice | Tensor]] | None:
    """Rows of a table, and the rows of the earlier table with the same values; None if it does not extend that table.

    Args:
        module: The module that owns the table.
        before: The schema of the earlier run.
        index: Number of the table among the encoder's tables.
        new: The table, [V, …].
        old: The earlier table, [V', …].
        stayed: Earlier ids that still have a place, in their order, [K] int64, by vocabulary that ids have left.
    """
    encoder, schema = module.network.encoder, module.schema
    places, earlier = encoder.table_places(schema), encoder.table_places(before)
    if new.shape[1:] != old.shape[1:]:
        return None
    if index >= len(places):
        same = new.shape == old.shape and schema.table_sizes == before.table_sizes and not stayed
        return [(slice(None), slice(None))] if same else None
    if places[index].keys() != earlier[index].keys():
        return None
    sizes = {table: before.table_sizes[table] for table in places[index]}
    growth = sum(len(starts) * (schema.table_sizes[table] - sizes[table]) for table, starts in places[index].items())
    if new.shape[0] - old.shape[0] != growth:
        return None
    return [
        # Id 0 is padding: zero in both.
        (slice(start + 1, start + 1 + len(stayed[table])), was + stayed[table])
        if table in stayed
        else (slice(start + 1, start + size), slice(was + 1, was + size))
        for table, size in sizes.items()
        for start, was in zip(places[index][table], earlier[index][table], strict=True)
    ]


class TableState(Callback):
    """Copies the state of the earlier run's table optimizer for known rows; new rows have no state.

    Without it a row-wise Adagrad would repeat its first steps, which are as large as an embedding. The moments of dense
    weights start at zero: they average over a few hundred steps only.

    Args:
        start: The earlier run. Its last checkpoint has the state.

    Example:
        ``Trainer(callbacks=[TableState(WarmStart("runs/ads/monday"))])``
    """

    def __init__(self, start: WarmStart) -> None:
        self.path = start.run.resume_checkpoint()
        self.stayed = start.stayed

    def available(self, module: MultiTaskModule) -> bool:
        """True if there is a state that fits the module's optimizer."""
        return self.path is not None and bool(self._saved(module))

    def _saved(self, module: MultiTaskModule) -> Mapping[str, Any]:
        """The last checkpoint if its tables have the same optimizer; otherwise an empty mapping."""
        assert self.path is not None
        checkpoint = AtomicCheckpointIO(expect=check_table_state).load_checkpoint(self.path)
        config = checkpoint["mtl_lightning"]["config"]
        same = _section(config, "optimizer").get("tables") == module.optimizer_config.tables
        return checkpoint if same and checkpoint.get("optimizer_states") else {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the state. A resumed run restores its own state later."""
        assert isinstance(pl_module, MultiTaskModule)
        optimizer = trainer.optimizers[0]
        tables = pl_module.network.encoder.table_parameters()
        if self.path is None or not tables or not isinstance(optimizer, CompositeOptimizer):
            return
        checkpoint = self._saved(pl_module)
        if not checkpoint:
            return
        before = Schema.from_dict(checkpoint["mtl_lightning"]["schema"])
        states = checkpoint["optimizer_states"][0]["optimizers"][-1]["state"]
        inner = optimizer.optimizers[-1]
        for index, table in enumerate(tables):
            if index in states:
                inner.state[table] |= dict(self._mapped(pl_module, before, index, table, states[index]))

    def _mapped(
        self, module: MultiTaskModule, before: Schema, index: int, table: Tensor, state: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        for name, value in state.items():
            if not isinstance(value, Tensor) or value.ndim == 0:
                yield name, value
                continue
            grown = torch.zeros(table.shape[0], *value.shape[1:], dtype=value.dtype, device=table.device)
            for new, was in table_rows(module, before, index, grown, value, self.stayed) or ():
                grown[new] = value[was].to(table.device)
            yield name, grown


def _belongs(name: str, tasks: set[str]) -> bool:
    return bool(tasks.intersection(name.split(".")))


def _size(value: Tensor) -> str:
    return " × ".join(map(str, value.shape)) or "a number"


def _hint_for_values(before: Schema, now: Schema, old: Tensor, new: Tensor) -> str:
    """Hint for weights that a component has per value of a feature, such as a scenario."""
    for field in before.of_kind("categorical") if new.dim() and old.dim() else ():
        was, size = field.size, now.field(field.name).size
        # There may be shared weights in addition to the weights of each value.
        if was < size and any(new.shape[0] * (was + more) == old.shape[0] * (size + more) for more in (0, 1)):
            return (
                f"if it has a part per value of {field.name!r}, keep new values out of the vocabulary: "
                f"features.{field.name}.max_size={was - FIRST}"
            )
    return ""


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Problem]:
    """Differences in the sections of :data:`COMPARED`."""
    problems = []
    for section in COMPARED:
        old, new = _section(before, section), _section(now, section)
        problems += [
            Problem(f"{section}.{key}", f"is {new[key]!r}, was {old[key]!r} in the earlier run")
            for key in new
            if key in old and old[key] != new[key]
        ]
    return problems


def _shortened(problems: list[Problem]) -> list[Problem]:
    if len(problems) <= SHOWN:
        return problems
    return [*problems[:SHOWN], Problem("…", f"{len(problems) - SHOWN} more weights don't fit")]
