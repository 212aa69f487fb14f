"""The plan of a study: its arguments, the commands of its trials, and a recipe of a trial's settings."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mtl_lightning.config import compose, validate
from mtl_lightning.config.pairs import read_arguments, read_overrides, split_pair
from mtl_lightning.config.recipe import is_path
from mtl_lightning.errors import MtlError
from mtl_lightning.tune.space import Dimension, read_space

KEYS = ("trials", "jobs", "storage", "study", "objective", "prune", "out", "space")
"""The study's own arguments, next to ``space.<setting>``; everything else goes to every trial."""
SCORE, TASKS = "score", "tasks"
OWN = {"resume": "", "run.dir": "write out=", "run.test": ""}
"""Arguments that tune sets for each trial, with hints."""


@dataclass(frozen=True)
class Plan:
    """A study.

    Args:
        recipe: Name or path of the recipe.
        overrides: Settings of every trial.
        space: Settings that are searched.
        trials: Number of trials of the study.
        jobs: Number of trials that this process runs at a time.
        objective: ``score`` (the weighted validation score, with pruning), or ``tasks`` (each task's first metric).
        prune: Whether Optuna stops trials early that are worse than others.
        storage: Optuna storage URL, or None for a journal file in ``out``.
        study: Name of the study in the storage.
        seed: Seed of the sampler.
        out: Directory of runs and results.
        tasks: Names of the tasks.
        identity: Identity of the recipe's content.
    """

    recipe: str
    overrides: tuple[str, ...]
    space: tuple[Dimension, ...]
    trials: int
    jobs: int
    objective: str
    prune: bool
    storage: str | None
    study: str
    seed: int
    out: Path
    tasks: tuple[str, ...]
    identity: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that all trials of a study must share."""
        return {
            "recipe": self.recipe,
            "overrides": sorted(self.overrides),
            "space": {dimension.key: str(dimension) for dimension in self.space},
            "objective": self.objective,
            "content of the recipe": self.identity,
        }

    def pairs(self, values: Mapping[str, Any]) -> list[str]:
        """Values of a trial as settings; names of components come before their options."""
        searched = [dimension for dimension in self.space if dimension.key in values]
        settings = [f"{dimension.key}={dimension.text(values[dimension.key])}" for dimension in searched]
        return sorted(settings, key=lambda pair: pair.partition("=")[0].count("."))

    def path(self, number: int) -> Path:
        """The run directory of a trial."""
        return self.out / "trials" / f"{number:04d}"

    def arguments(self, number: int, values: Mapping[str, Any]) -> list[str]:
        """Arguments of the command that starts a trial, or resumes it, without an evaluation on the test split."""
        path = self.path(number)
        if (path / "config.yaml").is_file():
            return ["fit", f"resume={path}"]
        settings = [*self.overrides, *self.pairs(values), "run.test=false", f"run.dir={path}"]
        return ["fit", f"recipe={self.recipe}", *settings]

    def recipe_text(self, values: Mapping[str, Any], comment: str) -> str:
        """A recipe that extends the study's recipe by the values of a trial."""
        base = os.path.relpath(self.recipe, self.out) if is_path(self.recipe) else self.recipe
        layer = {"extends": base, **read_overrides([*self.overrides, *self.pairs(values)])}
        return f"# {comment}\n\n{yaml.safe_dump(layer, sort_keys=False, allow_unicode=True)}"

    def check(self) -> None:
        """Check the recipe with both ends of every range.

        Raises:
            MtlError: If one is wrong, with the setting.
        """
        first = {dimension.key: dimension.probes[0] for dimension in self.space}
        for dimension in self.space:
            for probe in dimension.probes:
                chosen = [f"{key}={value}" for key, value in (first | {dimension.key: probe}).items()]
                chosen.sort(key=lambda pair: pair.partition("=")[0].count("."))
                try:
                    validate(compose(self.recipe, [*self.overrides, *chosen]).plain)
                except MtlError as error:
                    raise MtlError(f"with {dimension.key}={probe}: {error}", "change the space") from error


def read_plan(pairs: Sequence[str]) -> Plan:
    """Read the command's arguments.

    Args:
        pairs: ``recipe=… space=FILE space.<setting>=… trials=30 jobs=1 objective=score prune=true storage=URL
            study=NAME out=DIRECTORY`` and settings of every trial.

    Raises:
        MtlError: If an argument is missing or wrong.

    Example:
        >>> plan = read_plan(["recipe=ads", "space.optimizer.lr=log(1e-4,1e-2)", "trials=5", "trainer.max_epochs=1"])
        >>> plan.trials, plan.overrides, plan.pairs({"optimizer.lr": 0.002}), str(plan.out)
        (5, ('trainer.max_epochs=1',), ['optimizer.lr=0.002'], 'runs/tune/ads')
    """
    arguments = read_arguments("tune", pairs, ["recipe"], [*KEYS, "space."], settings="all", refused=OWN)
    own, overrides, recipe = arguments.own, arguments.settings, arguments.own["recipe"]
    searched = {key.removeprefix("space."): value for key, value in own.items() if key.startswith("space.")}
    config = validate(compose(recipe, overrides).plain)
    tasks = tuple(task.name for task in config.tasks)
    objective = arguments.choose("objective", (SCORE, TASKS))
    prune = arguments.switch("prune") and objective == SCORE
    out = Path(own.get("out") or Path("runs") / "tune" / Path(recipe).stem)
    return Plan(
        recipe, overrides, _space(own.get("space"), searched, tasks, overrides),
        arguments.number("trials", 30, least=1), arguments.number("jobs", 1, least=1), objective, prune,
        own.get("storage") or None, own.get("study") or out.name, config.seed, out, tasks, config.identity,
    )  # fmt: skip


def _space(
    file: str | None, searched: Mapping[str, str], tasks: Sequence[str], overrides: Sequence[str]
) -> tuple[Dimension, ...]:
    """The space without settings that are fixed on the command line."""
    fixed = {split_pair(pair)[0] for pair in overrides}
    if both := sorted(fixed & searched.keys()):
        raise MtlError(f"{both[0]} is both fixed and searched", f"leave out {both[0]}= or space.{both[0]}=")
    space = read_space(file, searched, tasks)
    for dimension in space:
        if dimension.key in OWN:
            raise MtlError(f"space.{dimension.key}: can't be searched", "each trial has its own")
    left = tuple(dimension for dimension in space if dimension.key not in fixed)
    if not left:
        raise MtlError("there is nothing to search", "all settings of the space are fixed")
    return left
