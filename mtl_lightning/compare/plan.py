"""The grid of a comparison: the runs that it consists of."""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtl_lightning.config import compose
from mtl_lightning.config.pairs import Arguments, read_arguments
from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.plugins import registry

BASELINE = "single_task"
KEYS = ("architecture", "weighter", "seeds", "confirm", "constants", "jobs", "out", "table", "plots", "grouping")
"""Arguments of the comparison itself; all others are settings of every run."""
REFUSED = {
    **dict.fromkeys(("resume", "init_from", "run.init_from", "run.keep_rows"), ""),
    "seed": "write seeds=3 or seeds=5,6",
    "run.dir": "write out=",
    "run.test": "a verdict needs it",
}
"""Settings that a comparison sets itself, with hints."""
TABLES, PLOTS = ("latex", "markdown", "csv"), ("svg", "pdf", "png")
"""Formats of ``table=`` and of ``plots=``."""
MOST = 1000
"""Largest number of seeds."""
WEIGHT_SPAN = 10.0
"""Constant weights are between 1 / span and span."""


@dataclass(frozen=True)
class Grid:
    """Grid of configurations and seeds.

    Args:
        recipe: Name or path of the recipe.
        overrides: Settings of every run.
        architectures: Multi-task architectures.
        weighters: Weighters.
        seeds: Seeds.
        confirm: Number of additional seeds for single-task models and for the selected configuration.
        constants: Number of settings of constant weights, tried with the first architecture.
        jobs: Number of concurrent runs.
        out: Directory of the comparison.
        tables: Formats of the table of results that is written to ``out``.
        plots: Formats of the plots that are written to ``out``.
        grouping: Whether groups of tasks are searched.
    """

    recipe: str
    overrides: tuple[str, ...]
    architectures: tuple[str, ...]
    weighters: tuple[str, ...]
    seeds: tuple[int, ...]
    confirm: int
    constants: int
    jobs: int
    out: Path
    tables: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    grouping: bool = False


@dataclass(frozen=True)
class Cell:
    """A run of the grid.

    Args:
        configuration: Name of the configuration; its cells differ only in the seed.
        seed: The seed.
        pairs: Settings of the configuration.
        tried: Whether it is one of the settings of constant weights, of which only the best is reported.
    """

    configuration: str
    seed: int
    pairs: tuple[str, ...]
    tried: bool = False

    @property
    def name(self) -> str:
        """Name of the cell and its directory."""
        return f"{self.configuration}-seed{self.seed}"

    def path(self, out: Path) -> Path:
        """Run directory of the cell."""
        return out / "cells" / self.name


def read_grid(pairs: Sequence[str]) -> Grid:
    """Read the arguments of the command. By default, the recipe's own architecture and weighter are compared.

    Args:
        pairs: ``recipe=… architecture=a,b weighter=c,d seeds=3 confirm=2 constants=5 jobs=2 out=…`` and settings.

    Raises:
        MtlError: If an argument is missing or wrong.

    Example:
        >>> grid = read_grid(["recipe=ads", "architecture=mmoe,ple", "seeds=2", "trainer.max_epochs=1"])
        >>> grid.architectures, grid.weighters, grid.seeds, grid.overrides, str(grid.out)
        (('mmoe', 'ple'), ('famo', 'sum'), (0, 1), ('trainer.max_epochs=1',), 'runs/compare/ads')
    """
    arguments = read_arguments("compare", pairs, ["recipe"], KEYS, settings="all", refused=REFUSED)
    own, overrides, recipe = arguments.own, arguments.settings, arguments.own["recipe"]
    architectures = _components(own, "architecture") or _default(
        recipe, overrides, "architecture", "shared_bottom", "mmoe"
    )
    architectures = tuple(name for name in architectures if name != BASELINE)
    weighters = _components(own, "weighter") or _default(recipe, overrides, "weighter", "sum", "famo")
    if not architectures or not weighters:
        raise MtlError("compare needs a multi-task architecture and a weighter", f"{BASELINE} is always compared")
    if own.get("grouping", "auto") != "auto":
        raise arguments.wrong("grouping", "auto, or left out")
    out = Path(own.get("out") or Path("runs") / "compare" / Path(recipe).stem)
    seeds, confirm = _seeds(arguments), arguments.number("confirm", 2, least=0)
    if max(seeds) + confirm >= 2**32 or len(seeds) + confirm > MOST:
        raise MtlError(
            f"seeds={own.get('seeds', '3')} confirm={confirm}: seeds must be below 2^32, at most {MOST} of them"
        )
    return Grid(
        recipe, overrides, architectures, weighters, seeds, confirm, arguments.number("constants", 5, least=0),
        arguments.number("jobs", min(2, os.cpu_count() or 1), least=1), out,
        _formats(own, "table", TABLES), _formats(own, "plots", PLOTS), "grouping" in own,
    )  # fmt: skip


def _formats(own: Mapping[str, str], key: str, known: Sequence[str]) -> tuple[str, ...]:
    """Distinct formats that an argument names."""
    names = tuple(dict.fromkeys(name.strip() for name in own.get(key, "").strip("[]").split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise MtlError(f"{key}: no format is called {name!r}", did_you_mean(name, known, listing=len(known)))
    return names


def _components(own: Mapping[str, str], kind: str) -> tuple[str, ...]:
    """Distinct names of components: ``mtl-lightning/mmoe`` is the same as ``mmoe``."""
    names = (name.strip() for name in own.get(kind, "").strip("[]").split(",") if name.strip())
    return tuple(dict.fromkeys(registry().listed(kind, name) for name in names))


def _default(recipe: str, overrides: Sequence[str], key: str, plain: str, other: str) -> tuple[str, ...]:
    """The recipe's own component of a kind and the simplest one; if they are the same, it and ``other``."""
    named = registry().listed(key, str(compose(recipe, overrides).plain[key]["name"]))
    return (plain, other) if named in (plain, BASELINE) else (named, plain)


def _seeds(arguments: Arguments) -> tuple[int, ...]:
    text = arguments.own.get("seeds", "3")
    parts = [part.strip() for part in text.strip("[]").split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts) or (parts == ["0"] and "," not in text):
        raise arguments.wrong("seeds", "a number of seeds (seeds=3) or a list (seeds=5,6)")
    if len(parts) == 1 and "," not in text:
        return tuple(range(min(int(parts[0]), MOST + 1)))
    return tuple(dict.fromkeys(int(part) for part in parts))


def cells(grid: Grid, tasks: Sequence[str]) -> list[Cell]:
    """All runs of a grid: single-task models, every architecture with every weighter, and constant weights.

    Args:
        grid: The grid.
        tasks: Names of the recipe's tasks.

    Example:
        >>> grid = read_grid(["recipe=ads", "architecture=mmoe", "weighter=sum", "seeds=1", "constants=2"])
        >>> [cell.name for cell in cells(grid, ["click", "dwell"])]
        ['single_task-seed0', 'mmoe-sum-seed0', 'mmoe-constant1-seed0', 'mmoe-constant2-seed0']
    """
    # Separate networks, including tables: one per task, trained together.
    settings: dict[str, tuple[str, ...]] = {}
    settings[BASELINE] = ("architecture=single_task", "architecture.share_tables=false", "weighter=sum")
    for architecture in grid.architectures:
        for weighter in grid.weighters:
            settings[f"{architecture}-{weighter}"] = (f"architecture={architecture}", f"weighter={weighter}")
    constants = set()
    for number, weights in enumerate(constant_weights(tasks, grid.constants), 1):
        name = f"{grid.architectures[0]}-constant{number}"
        constants.add(name)
        settings[name] = (
            f"architecture={grid.architectures[0]}",
            "weighter=constant",
            *(f"weighter.weights.{task}={weight:.4g}" for task, weight in weights.items()),
        )
    return [
        Cell(name.replace("/", "_"), seed, pairs, name in constants)
        for seed in grid.seeds
        for name, pairs in settings.items()
    ]


def confirming(grid: Grid, cells: Sequence[Cell], selected: str | None) -> list[Cell]:
    """Runs of the selected configuration and of single-task models with additional seeds, for the verdict only.

    The best configuration on validation was also favoured by its seeds, and few seeds estimate their spread poorly.

    Args:
        grid: The grid.
        cells: The grid's cells.
        selected: Name of the selected configuration; None if there is none yet.

    Example:
        >>> grid = read_grid(["recipe=ads", "architecture=mmoe", "weighter=sum", "seeds=3", "constants=0", "confirm=1"])
        >>> [cell.name for cell in confirming(grid, cells(grid, ["click", "dwell"]), "mmoe-sum")]
        ['single_task-seed3', 'mmoe-sum-seed3']
    """
    if selected is None:
        return []
    known = {cell.configuration: cell for cell in cells}
    first = max(grid.seeds) + 1
    seeds = range(first, first + grid.confirm)
    return [replace(known[name], seed=seed) for seed in seeds for name in (BASELINE, selected)]


def constant_weights(tasks: Sequence[str], count: int) -> list[dict[str, float]]:
    """Settings of constant weights, the same in every comparison of these tasks.

    They form a Latin hypercube in log space: each task takes each of ``count`` equally spaced levels once, in random
    order. The weights of a setting have mean 1, so the learning rate has the same meaning.

    Example:
        >>> settings = constant_weights(["click", "dwell"], 3)
        >>> [round(sum(setting.values()), 6) for setting in settings]
        [2.0, 2.0, 2.0]
    """
    source = random.Random(0)
    levels = [WEIGHT_SPAN ** (2 * i / (count - 1) - 1) if count > 1 else 1.0 for i in range(count)]
    columns = {task: source.sample(levels, count) for task in tasks}
    settings = []
    for i in range(count):
        mean = sum(column[i] for column in columns.values()) / len(columns)
        settings.append({task: column[i] / mean for task, column in columns.items()})
    return settings
