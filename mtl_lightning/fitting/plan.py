"""Plan of a run: a checked configuration, and the run directory to resume if there is one."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from mtl_lightning.config import Config, compose, validate
from mtl_lightning.config.pairs import split_pair
from mtl_lightning.errors import MtlError
from mtl_lightning.launchers.base import Launcher
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import say, warn_of_other_plugins
from mtl_lightning.runs.directory import RunDirectory

INIT_FROM = "init_from"


@dataclass(frozen=True)
class RunPlan:
    """Configuration and directory of a run.

    Args:
        config: The checked configuration.
        recipe: Name of the recipe.
        resumed: The run to resume; None for a new one.
        launcher: What started this process; None if no launcher did.
    """

    config: Config
    recipe: str
    resumed: RunDirectory | None = None
    launcher: Launcher | None = None

    @property
    def is_complete(self) -> bool:
        """True if the run to resume has nothing left to do, unless settings change."""
        return self.resumed is not None and self.resumed.is_complete()

    def locked(self) -> AbstractContextManager[None]:
        """Lock the directory of a resumed run for a block, on the first process.

        Raises:
            MtlError: If another process trains there.
        """
        return self.resumed.held() if self.resumed is not None and process_rank() == 0 else nullcontext()


def plan_run(
    recipe: str | Mapping[str, Any] | None, pairs: Sequence[str], resume: str | None, console: Console
) -> RunPlan:
    """Compose and check the configuration of a run.

    Args:
        recipe: Name, path or content of the recipe. May be missing with ``resume`` and with a pair ``init_from=…``,
            which then supply it.
        pairs: ``key=value`` pairs that change the recipe.
        resume: Directory of the run to resume.
        console: Where notes and warnings are printed.

    Raises:
        MtlError: If arguments contradict each other, or a directory is not a run's.
        ConfigError: If the configuration is wrong; all problems are listed.

    Example:
        >>> plan = plan_run("ads", ["weighter=pcgrad"], None, Console(quiet=True))
        >>> plan.recipe, plan.config.weighter.name, plan.resumed
        ('ads', 'pcgrad', None)
    """
    init_from = next((value for key, value in map(split_pair, pairs) if key == INIT_FROM), None)
    if resume and recipe:
        raise MtlError("fit takes recipe= or resume=, not both", "a run directory contains its recipe")
    if resume and init_from:
        raise MtlError("fit takes init_from= or resume=, not both", "a run that is resumed has started already")
    resumed = RunDirectory.open(resume) if resume else None
    supplier = resumed
    if init_from and recipe is None:  # the recipe of the earlier run, in a new directory
        supplier = RunDirectory.open(init_from)
        pairs = ["run.dir=null", *pairs]
    composed = compose(recipe if supplier is None else str(supplier.config_file), pairs)
    for note in composed.notes:
        say(console, note, "yellow")
    config = validate(composed.plain)
    if resumed is not None and (pairs or not resumed.is_complete()):
        warn_of_other_plugins(console, resumed)
    name = supplier.load_json("recipe.json") if supplier is not None else None
    return RunPlan(config, name or composed.recipe, resumed)
