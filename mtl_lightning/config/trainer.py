"""Checks of the ``trainer`` section against the signature of Lightning's Trainer."""

import re
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry, MPSAccelerator

from mtl_lightning.config.draft import Draft
from mtl_lightning.errors import MtlError, did_you_mean
from mtl_lightning.training.schedule import SCHEDULES, check_end
from mtl_lightning.training.strategies import STRATEGIES, refusal

RESERVED = {
    "callbacks": "callbacks come from plugins (hook mtl_callbacks)",
    "logger": "the run directory's logs are always written",
    "plugins": "this package writes checkpoints with a plugin of its own",
    "use_distributed_sampler": "the loader divides the rows among processes",
    "enable_checkpointing": "every run can be resumed; see run.checkpoint_every",
    "default_root_dir": "run.dir names the run's directory",
    "reload_dataloaders_every_n_epochs": "the loader keeps its place and shuffles by itself",
    "barebones": "it forbids logs, metrics and checkpoints",
}
"""Arguments that a recipe can't set, with the reasons."""
NO_PRECISION = ("64", "64-true", "bf16-true", "16-true", "transformer-engine", "transformer-engine-float16")
PRECISIONS = "32-true, bf16-mixed or 16-mixed"


def check_trainer(draft: Draft) -> dict[str, Any]:
    """Check the Trainer's arguments; returns those that the recipe sets, without Lightning's defaults."""
    given = draft.section("trainer")
    for name in sorted(set(given) & set(RESERVED)):
        draft.problem(f"trainer.{name}", "can't be set in a recipe", RESERVED[name])
    given = {name: value for name, value in given.items() if name not in RESERVED}
    strategy = given.get("strategy")
    reason = refusal(strategy) if isinstance(strategy, str) else None
    if reason is not None:
        draft.problem("trainer.strategy", f"{strategy!r} is refused: {reason}", f"choose from {', '.join(STRATEGIES)}")
        del given["strategy"]
    elif strategy is not None and not isinstance(strategy, str):
        draft.problem("trainer.strategy", f"expects a name, not {strategy!r}", f"choose from {', '.join(STRATEGIES)}")
        del given["strategy"]
    precision = given.get("precision")
    if str(precision) in NO_PRECISION:
        draft.problem("trainer.precision", f"{precision!r} would convert ids and labels, too", PRECISIONS)
        del given["precision"]
    bound = draft.bind("trainer", Trainer, given, owner="Lightning's Trainer", without=tuple(RESERVED))
    _check_devices(draft, bound.options)  # as text where a recipe has a number
    _check_length(draft, bound.options)
    return {name: value for name, value in bound.options.items() if name in given}


def _check_length(draft: Draft, options: Mapping[str, Any]) -> None:
    """Check lengths that Lightning refuses only when the Trainer is built, and whether the schedule needs one."""
    epochs, steps = options.get("max_epochs"), options.get("max_steps", -1)
    for name, number in (("max_epochs", epochs), ("max_steps", steps)):
        if isinstance(number, int) and (number == 0 or number < -1):
            draft.problem(f"trainer.{name}", f"is {number}, and must be at least 1", "-1 for no limit")
    chosen = draft.section("optimizer").get("schedule", "constant")
    if isinstance(chosen, str) and chosen in SCHEDULES:
        try:
            check_end(chosen, epochs, steps)
        except MtlError as error:
            path, _, reason = error.message.partition(": ")
            draft.problem(path, reason, error.hint)


def _check_devices(draft: Draft, given: Mapping[str, Any]) -> None:
    """Check names that Lightning refuses only when the Trainer is built."""
    devices = given.get("devices")
    if isinstance(devices, str) and devices != "auto" and not re.fullmatch(r"-?\d+(\s*,\s*\d+)*", devices):
        draft.problem("trainer.devices", f"expects a number, a list of numbers or 'auto', not {devices!r}")
    accelerator = given.get("accelerator")
    known = ("auto", "gpu", *AcceleratorRegistry.available_accelerators())
    if isinstance(accelerator, str) and accelerator not in known:
        draft.problem("trainer.accelerator", f"no accelerator {accelerator!r}", did_you_mean(accelerator, known))
    if accelerator == "mps" or (accelerator == "gpu" and MPSAccelerator.is_available()):
        reason = "Apple's GPUs can't compute in float64, which counts and weights of tasks need"
        draft.problem("trainer.accelerator", reason, "set trainer.accelerator=cpu")
