"""Names and options → objects: network, module, data, Trainer."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mtl_lightning.config import Component, Config
from mtl_lightning.data.datamodule import DataModule
from mtl_lightning.data.features.base import Feature
from mtl_lightning.data.preparation.prepared import Transforms
from mtl_lightning.data.store.latest_events import open_latest
from mtl_lightning.data.store.store import Store
from mtl_lightning.errors import ConfigError, DataError, Problem
from mtl_lightning.heads.members import MemberHeads
from mtl_lightning.interfaces import Architecture, Encoder, Head, Loss, TaskMetric, Weighter
from mtl_lightning.launchers.base import Launcher
from mtl_lightning.loggers.base import RunLogger
from mtl_lightning.losses.members import MemberLoss
from mtl_lightning.metrics import default_metrics
from mtl_lightning.plugins import registry
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.schema import Schema
from mtl_lightning.training.module import MultiTaskModule
from mtl_lightning.training.network import Network
from mtl_lightning.training.optimizer import OptimizerConfig
from mtl_lightning.validation.binding import bind

Spec = str | Mapping[str, Any] | Component
"""A component by name, as ``{"name": …, option: …}``, or as the configuration has it."""


def component(spec: Spec) -> Component:
    """Normalise a :data:`Spec`.

    Example:
        >>> component({"name": "pcgrad", "every": 4})
        Component(name='pcgrad', options={'every': 4})
    """
    if isinstance(spec, str):
        return Component(spec, {})
    if isinstance(spec, Mapping):
        return Component(spec["name"], {key: value for key, value in spec.items() if key != "name"})
    return spec


def _chosen(kind: str, spec: Spec) -> tuple[Any, dict[str, Any]]:
    """The class and its options; raises ConfigError if a plain one has a wrong name, type or size."""
    chosen = component(spec)
    target = registry().resolve(kind, chosen.name)
    problems: list[Problem] = []
    bind(target, chosen.options, kind, problems, owner=f"{kind} {chosen.name!r}")
    if problems:
        raise ConfigError(problems)
    return target, dict(chosen.options)


def _make(kind: str, spec: Spec, *context: Any) -> Any:
    target, options = _chosen(kind, spec)
    return target(*context, **options)


def build_network(
    schema: Schema,
    *,
    encoder: Spec = "embedding",
    architecture: Spec = "shared_bottom",
    heads: Mapping[str, Spec] | None = None,
    losses: Mapping[str, Spec] | None = None,
) -> Network:
    """Build a network by names.

    Args:
        schema: Fitted schema of a :class:`DataModule`.
        encoder: The encoder.
        architecture: The architecture.
        heads: Heads per task; a task without one takes the default head of its kind.
        losses: Losses per task; a task without one takes its head's default.

    Raises:
        PluginError: If a name can't be resolved.
        ConfigError: If an option has a name, type or size that the component doesn't take.

    Example:
        >>> from mtl_lightning.schema import Field, Task
        >>> schema = Schema((Field(name="user", kind="categorical", size=10, table="user"),),
        ...                 (Task(name="click", kind="binary", label="click"),))
        >>> sorted(build_network(schema, architecture="mmoe").heads)
        ['click']
    """
    kind, options = _chosen("architecture", architecture)
    built_encoder: Encoder = _make("encoder", encoder, schema, kind.table_copies(len(schema.tasks), **options))
    built: Architecture = kind(schema, built_encoder, **options)
    members: dict[str, list[Head]] = {}
    built_losses: dict[str, Loss] = {}
    for task in schema.tasks:
        spec, width = (heads or {}).get(task.name, task.traits.head), built.widths[task.name] // built.members
        members[task.name] = [
            _make("head", spec, task, width, {name: members[name][m] for name in task.parents})
            for m in range(built.members)
        ]
        built_losses[task.name] = _make("loss", (losses or {}).get(task.name, members[task.name][0].loss), task)
    if built.members == 1:
        return Network(schema, built_encoder, built, {name: head for name, (head,) in members.items()}, built_losses)
    ensembles = {name: MemberHeads(parts) for name, parts in members.items()}
    mean_losses = {name: MemberLoss(loss) for name, loss in built_losses.items()}
    return Network(schema, built_encoder, built, ensembles, mean_losses)


def build_metrics(
    schema: Schema, metrics: Mapping[str, Sequence[Spec]] | None = None
) -> dict[str, dict[str, TaskMetric]]:
    """Metrics per task; a task without any takes the defaults of its kind, and the oracle's if it has one."""
    chosen = {task.name: (metrics or {}).get(task.name) or default_metrics(task) for task in schema.tasks}
    return {
        name: {component(spec).name: _make("metric", spec, schema.task(name)) for spec in specs}
        for name, specs in chosen.items()
    }


def build_module(
    schema: Schema,
    *,
    encoder: Spec = "embedding",
    architecture: Spec = "shared_bottom",
    heads: Mapping[str, Spec] | None = None,
    losses: Mapping[str, Spec] | None = None,
    weighter: Spec = "sum",
    metrics: Mapping[str, Sequence[Spec]] | None = None,
    optimizer: OptimizerConfig | Mapping[str, Any] | None = None,
    seed: int = 0,
    skip_nonfinite: int = 10,
    config: Mapping[str, Any] | None = None,
) -> MultiTaskModule:
    """Build a Lightning module by names, for a recipe or for the user's own Trainer.

    Args:
        schema: Fitted schema of a :class:`DataModule`.
        encoder: As in :func:`build_network`; so are architecture, heads and losses.
        architecture: See above.
        heads: See above.
        losses: See above.
        weighter: The weighter.
        metrics: Metrics per task; the first counts in the score.
        optimizer: Options of :class:`OptimizerConfig`.
        seed: Seed of the weighter's random numbers.
        skip_nonfinite: See :class:`~mtl_lightning.training.module.MultiTaskModule`.
        config: Resolved configuration to be saved with checkpoints.

    Example:
        >>> from mtl_lightning.schema import Task
        >>> schema = Schema((), (Task(name="click", kind="binary", label="click"),))
        >>> build_module(schema, weighter="uncertainty").weighter.tasks
        ('click',)
    """
    network = build_network(schema, encoder=encoder, architecture=architecture, heads=heads, losses=losses)
    built_weighter: Weighter = _make("weighter", weighter, tuple(task.name for task in schema.tasks))
    options = optimizer if isinstance(optimizer, OptimizerConfig) else OptimizerConfig(**(optimizer or {}))
    network.compiled = options.compile
    return MultiTaskModule(
        network,
        built_weighter,
        optimizer=options,
        metrics=build_metrics(schema, metrics),
        seed=seed,
        skip_nonfinite=skip_nonfinite,
        config=config,
    )


def module_from_config(config: Config, schema: Schema) -> MultiTaskModule:
    """The Lightning module of a checked configuration.

    Args:
        config: The configuration.
        schema: Fitted schema of its data.
    """
    return build_module(
        schema,
        encoder=config.encoder,
        architecture=config.architecture,
        heads=config.heads,
        losses=config.losses,
        weighter=config.weighter,
        metrics=config.metrics,
        optimizer=config.optimizer,
        seed=config.seed,
        skip_nonfinite=config.run.skip_nonfinite,
        config=config.plain,
    )


def build_loggers(config: Config, directory: Path) -> list[RunLogger]:
    """The loggers of a run, on the first process.

    Args:
        config: The configuration.
        directory: The run directory.
    """
    return [_make("logger", chosen, directory) for chosen in config.run.loggers]


def build_launcher(config: Config) -> Launcher:
    """The launcher of a run that has one.

    Args:
        config: The configuration.
    """
    launcher: Launcher = _make("launcher", config.run.launcher)
    return launcher


def check_labels(network: Network, lowest: Mapping[str, float | None]) -> None:
    """Check that labels are at least 0 where a head reads them as times or amounts.

    Args:
        network: The network.
        lowest: The lowest label of each task, None where none is known.

    Raises:
        DataError: Naming task, head and label.
    """
    for task in network.schema.tasks:
        value = lowest[task.name]
        if network.heads[task.name].nonnegative and value is not None and value < 0:
            reason = f"tasks.{task.name}: the label {task.label!r} is {value:g} in a row, and its head needs at least 0"
            hint = f"take another head, leave such rows out (observed_when), or clip them: maximum({task.label}, 0)"
            raise DataError(reason, hint)


def check_turnover(network: Network, features: Mapping[str, Feature]) -> None:
    """Check that no value leaves for which the architecture has weights: another value would get its place.

    Raises:
        DataError: Naming the feature.
    """
    for name in network.architecture.weighted_fields:
        lifetime = getattr(features[name], "lifetime", None)
        if lifetime is not None and lifetime.leaves:
            reason = f"features.{name}: the architecture has weights per value, so that its values can't leave"
            raise DataError(reason, "remove expire and evict; admit and max_size limit its values")


def check_columns(network: Network, stores: Mapping[str, Store], read: Mapping[str, Collection[str]]) -> None:
    """Check raw columns that a head reads as 0 or 1, or a loss as a probability.

    No feature may read such a column of a head, which compares a treatment with its absence: a request lacks it.

    Args:
        network: The network.
        stores: Encoded rows by split.
        read: Raw columns that each feature reads.

    Raises:
        DataError: Naming task, column, and split and value or feature.
    """
    for task in network.schema.tasks:
        for name, (feature, columns) in itertools.product(network.head(task.name).binary_columns, read.items()):
            if name in columns:
                reason = f"heads.{task.name}: the column {name!r} is also read by the feature {feature!r}"
                raise DataError(reason, f"requests do not have it: remove the feature, features.{feature}=null")
        whole = dict.fromkeys(network.head(task.name).binary_columns, "heads")
        columns = whole | dict.fromkeys(network.criterion(task.name).probability_columns, "losses")
        for (name, section), (split, store) in itertools.product(columns.items(), stores.items()):
            values = store.parts.get(f"raw/{name}", torch.zeros(0))
            wrong = (values < 0) | (values > 1) | ((section == "heads") & (values > 0) & (values < 1))
            if wrong.any():
                reason = f"{section}.{task.name}: the column {name!r} is {values[wrong][0]:g} in a row of {split}"
                raise DataError(reason, f"it must be 0{', 1' if section == 'heads' else ' to 1'} or missing")


def build_data(config: Config, run: RunDirectory | None = None) -> DataModule:
    """Build the data of a validated configuration without reading its rows.

    Args:
        config: The configuration.
        run: The run's directory, if it has one; it holds the transforms that the run started from.

    Raises:
        MtlError: If the run starts from another run that doesn't exist.
    """
    return DataModule(
        _make("source", config.source),
        features=config.features,
        tasks=config.tasks,
        split=config.split,
        raw=config.raw,
        seed=config.seed,
        base=_base(config, run),
        executor=_make("executor", config.data.executor),
        **{name: value for name, value in asdict(config.data).items() if name not in ("executor", "workers")},
    )


def _base(config: Config, run: RunDirectory | None) -> Transforms | None:
    if config.run.init_from is None:
        return None
    if run is not None and run.base_transforms.exists():
        base, folder = Transforms.load(run.base_transforms), run.base_latest
    else:
        earlier = RunDirectory.open(config.run.init_from)
        base, folder = Transforms.load(earlier.transforms), earlier.latest
    base.latest = open_latest(folder, list(base.histories))
    return base
