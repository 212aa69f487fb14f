"""The checked configuration of a run."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mtl_lightning.data.settings import DataConfig
from mtl_lightning.schema import Task

if TYPE_CHECKING:
    from mtl_lightning.data.features.build import Feature
    from mtl_lightning.data.preparation.split import SplitSpec
    from mtl_lightning.training.optimizer import OptimizerConfig


__all__ = ["Component", "Config", "DataConfig", "RunConfig"]

SECONDS = {"s": 1, "m": 60, "h": 3600}
"""Seconds in a unit of time."""
PERIOD = re.compile(r"([0-9]{1,9})([smh]?)")


@dataclass(frozen=True)
class Component:
    """A chosen component.

    Args:
        name: Its name in the registry.
        options: Keyword arguments of its constructor.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings of a run: its directory, checkpoints and evaluations; the ``run`` section of a recipe.

    Args:
        dir: The run's directory; None for ``runs/<recipe>/<time>``.
        patience: Validations without a better score after which training stops; None for never. Validations whose
            score is undefined do not count.
        checkpoint_every: Optimizer steps or, as ``90s``, ``10m`` or ``2h``, time between checkpoints within an epoch; 0
            for those at its end only; None for 500 steps, and ``10m`` on a GPU.
        checkpoint_in_background: Write checkpoints while training continues, from a copy of the state in memory; None
            for a GPU only.
        skip_nonfinite: Steps with non-finite gradients that are skipped in a row before training stops.
        timeout: Seconds after which a process that waits for a dead one gives up.
        init_from: Directory of an earlier run to start from: its vocabularies grow, its weights are copied.
        keep_rows: Keep predictions and labels of the test split, row by row, as ``test.npz``; ``compare`` needs them.
        test: Evaluate the test split at the end; ``tune`` does not evaluate it.
        relations: Steps between two samples of the cosines between the tasks' gradients; 0 for none.
        affinity: Batches between two samples of the affinity: how a step on one task changes the others' losses. 0 for
            none, None for 300 batches per task where affinities are possible.
        divergence: Number of validations in a row in which a task's training loss falls while its validation metric
            worsens. A warning then names the task; 0 for never.
        evaluation: After the test, compare train, validation and test, and find the best threshold.
        slices: Parts of validation and test to evaluate as well: ``day``, ``new_users``, ``new_<column>``, a column.
        train_rows: Training rows that are evaluated for the gap to validation, at most.
        loggers: Where logged values go; a name, or ``{name: mlflow, tracking_uri: …}``. Records in the run directory
            do not depend on it.
        launcher: What starts the processes of the run on a cluster: a plugin's name, or ``{name: ray, workers: 4}``.
            None for this process and those that Lightning, torchrun or SLURM start.
    """

    dir: str | None = None
    patience: int | None = None
    checkpoint_every: int | str | None = None
    checkpoint_in_background: bool | None = None
    skip_nonfinite: int = 10
    timeout: float = 1800.0
    init_from: str | None = None
    keep_rows: bool = False
    test: bool = True
    relations: int = 200
    affinity: int | None = None
    divergence: int = 2
    evaluation: bool = False
    slices: tuple[str, ...] = ()
    train_rows: int = 100_000
    loggers: tuple[Any, ...] = ("tensorboard",)
    launcher: Any = None

    def __post_init__(self) -> None:
        for name in ("patience", "skip_nonfinite", "timeout", "train_rows"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}, and must be above 0")
        for name in ("relations", "affinity", "divergence"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, and must be at least 0")
        if self.checkpoint_every is not None and not PERIOD.fullmatch(str(self.checkpoint_every)):
            forms = "a number of steps that is at least 0, or a time such as 90s, 10m or 2h"
            raise ValueError(f"checkpoint_every is {self.checkpoint_every}, and must be {forms}")

    @property
    def checkpoint_period(self) -> tuple[int, float]:
        """Steps and seconds between checkpoints within an epoch, one of which is 0; ``checkpoint_every`` is not None.

        Example:
            >>> RunConfig(checkpoint_every=500).checkpoint_period, RunConfig(checkpoint_every="10m").checkpoint_period
            ((500, 0.0), (0, 600.0))
        """
        number, unit = PERIOD.fullmatch(str(self.checkpoint_every)).groups()  # type: ignore[union-attr]
        return (0, float(number) * SECONDS[unit]) if unit else (int(number), 0.0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration in which every name is known, every option fits and every default is filled in.

    Args:
        source: Where rows come from.
        features: Model inputs by name.
        tasks: What is predicted, parents before children; otherwise in the recipe's order.
        split: How rows are divided.
        data: Batches and caches.
        encoder: Batch → z.
        architecture: z → one representation per task.
        heads: One per task.
        losses: One per task.
        metrics: Per task, the one that counts in the score first.
        weighter: Losses → objective.
        optimizer: Optimizer and learning rate.
        trainer: Arguments of ``lightning.pytorch.Trainer``, as the recipe gives them.
        seed: Seed of all random numbers.
        run: Directory, checkpoints and evaluations of the run.
        raw: Raw columns that components declare.
        plain: The configuration in YAML's types; :func:`~mtl_lightning.config.validate` turns it into an equal Config.
    """

    source: Component
    features: "dict[str, Feature]"
    tasks: tuple[Task, ...]
    split: "SplitSpec"
    data: DataConfig
    encoder: Component
    architecture: Component
    heads: dict[str, Component]
    losses: dict[str, Component]
    metrics: dict[str, tuple[Component, ...]]
    weighter: Component
    optimizer: "OptimizerConfig"
    trainer: dict[str, Any]
    seed: int
    run: RunConfig
    raw: tuple[str, ...]
    plain: dict[str, Any] = field(compare=False)

    @property
    def identity(self) -> str:
        """Digest that is equal for configurations that differ in their ``seed`` and ``run`` sections only."""
        content = {section: part for section, part in self.plain.items() if section not in ("seed", "run")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
