"""Checks of a checkpoint against the run that reads it: taken whole, or not at all."""

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import lightning
import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from mtl_lightning.analysis.affinity import AffinityCallback
from mtl_lightning.analysis.gradient_relations import ADDED, GradientRelations, RelationsCallback
from mtl_lightning.bounds import NonNegativeInt
from mtl_lightning.data.features.state_structure import check_schema
from mtl_lightning.errors import MtlError
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO, CheckpointError, UnfitError
from mtl_lightning.runs.checkpoint_content import check_alike, require_keys, require_tensor
from mtl_lightning.runs.optimizer_state import check_optimizer
from mtl_lightning.structure import INFINITE, check, shown
from mtl_lightning.training.module import MultiTaskModule

RELEASE = r"\d+\.\d+(\.\d+)?((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9.]+)?"


class SavedModule(TypedDict):
    """What :class:`MultiTaskModule` adds to a checkpoint."""

    batches: NonNegativeInt
    skipped: NonNegativeInt
    schema: dict[str, Any]
    config: dict[str, Any]


class SavedLoader(TypedDict):
    """State of a :class:`~mtl_lightning.data.store.loader.Loader`."""

    seed: int
    epoch: NonNegativeInt
    cursor: NonNegativeInt
    rows: NonNegativeInt
    steps: NonNegativeInt
    pool: NotRequired[int | None]


class SavedLoaders(TypedDict):
    """State of the loop over batches; without a loader at the end of an epoch."""

    combined_loader: NotRequired[list[SavedLoader]]


class SavedBest(TypedDict):
    """State of :class:`~mtl_lightning.fitting.checkpointing.Checkpoints`."""

    best_score: Annotated[float, INFINITE] | None
    best_step: NonNegativeInt
    since_best: NonNegativeInt


class SavedDivergence(TypedDict):
    """State of a :class:`~mtl_lightning.analysis.divergence.DivergenceCallback`."""

    last: dict[str, tuple[float, float]]
    rows: dict[str, NonNegativeInt]
    losses: NotRequired[Tensor | None]
    steps: NotRequired[NonNegativeInt]


STATES: dict[str, Any] = {"Checkpoints": SavedBest, "DivergenceCallback": SavedDivergence}
"""States of callbacks by their key in a checkpoint; sums over pairs of tasks are checked by their shapes."""


class Expectation:
    """What a run expects of a checkpoint; to be the ``expect`` of an :class:`AtomicCheckpointIO`.

    Args:
        module: The run's module.
        trainer: Its Trainer; None if only weights are read. While it trains, everything that a run goes on from is
            checked as well.

    Raises:
        MtlError: When called with a checkpoint that lacks something, or has something else.

    Example:
        ``AtomicCheckpointIO(expect=Expectation(module)).load_checkpoint("best.ckpt")``
    """

    def __init__(self, module: MultiTaskModule, trainer: Trainer | None = None) -> None:
        self.module = module
        self.trainer = trainer

    def __call__(self, checkpoint: Mapping[str, Any]) -> None:
        """Check a checkpoint."""
        check_saved_module(checkpoint)
        check_weights(checkpoint, self.module)
        if self.trainer is None:
            return
        _check_progress(checkpoint, self.trainer)
        _check_callbacks(checkpoint, self.trainer.callbacks, self.module)  # type: ignore[attr-defined]
        if self.trainer.state.fn == TrainerFn.FITTING:
            require_keys(checkpoint, "callbacks", "random_states")
            check_optimizer(checkpoint, self.module)
            _check_random_states(checkpoint)


def load_weights(module: MultiTaskModule, path: Path) -> None:
    """Load the weights of a checkpoint into a module that was built for them.

    Raises:
        CheckpointError: If the file can't be read, or doesn't hold the module's weights.
    """
    checkpoint = AtomicCheckpointIO(expect=Expectation(module)).load_checkpoint(path)
    module.load_state_dict(checkpoint["state_dict"])


def restoring(trainer: Trainer) -> bool:
    """True while a Trainer goes on from a checkpoint that it has not restored wholly: it holds what it read so long."""
    return bool(trainer._checkpoint_connector._loaded_checkpoint)


def unrestored(path: Path | None, error: Exception) -> CheckpointError:
    """The error to raise for one that came up while a checkpoint was restored."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return CheckpointError(f"the checkpoint {path} can't be restored: {reason}", "start again", reason)


def check_saved_module(checkpoint: Mapping[str, Any]) -> None:
    """Check the parts that every checkpoint of a run has: schema, configuration, counters, and finite weights.

    Raises:
        MtlError: With the place of what is wrong.
    """
    require_keys(checkpoint, "mtl_lightning", "state_dict")
    check(checkpoint["mtl_lightning"], SavedModule, "mtl_lightning")
    check_schema(checkpoint["mtl_lightning"]["schema"], "mtl_lightning.schema")
    weights = checkpoint["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise MtlError("state_dict is no mapping of names")
    for name, value in weights.items():
        if isinstance(value, Tensor) and name.startswith(("network.", "weighter.")):  # metrics may have other buffers
            require_tensor(value, None, f"state_dict.{name}", floating=value.is_floating_point())


def check_weights(checkpoint: Mapping[str, Any], module: MultiTaskModule) -> None:
    """Check that a checkpoint has the weights of a module, all of them and no others.

    Raises:
        UnfitError: If names, types or shapes differ.
    """
    weights, own = checkpoint["state_dict"], module.state_dict()
    if different := sorted(weights.keys() ^ own.keys()):
        raise _unfit(f"{different[0]} is {'unknown' if different[0] in weights else 'missing'}")
    for name, value in own.items():
        found = weights[name]
        if not isinstance(value, Tensor):
            if type(found) is not type(value) or (isinstance(value, dict) and found.keys() != value.keys()):
                raise _unfit(f"{name} is a {type(found).__name__}")
        elif not isinstance(found, Tensor) or found.is_floating_point() != value.is_floating_point():
            raise _unfit(f"{name} is of another type")
        elif found.shape != value.shape:
            raise _unfit(f"{name} is {list(found.shape)}, not {list(value.shape)}")


def _unfit(reason: str) -> UnfitError:
    hint = "leave encoder, architecture and heads as they were, or start again if the file is damaged"
    return UnfitError(f"holds the weights of another network: {reason}", hint)


def _check_progress(checkpoint: Mapping[str, Any], trainer: Trainer) -> None:
    require_keys(checkpoint, "epoch", "global_step", "pytorch-lightning_version", "loops")
    for name in ("epoch", "global_step"):
        check(checkpoint[name], NonNegativeInt, name)
    version = checkpoint["pytorch-lightning_version"]
    if not isinstance(version, str) or not re.fullmatch(RELEASE, version):
        raise MtlError(f"pytorch-lightning_version is {shown(version)}, not a version")
    check(checkpoint["loops"], dict[str, dict[str, Any]], "loops")
    require_keys(checkpoint["loops"], "fit_loop", "test_loop", "validate_loop")
    for loop in ("fit_loop", "test_loop", "validate_loop"):
        state, template = checkpoint["loops"][loop], getattr(trainer, loop).state_dict()
        check(state.get("state_dict"), SavedLoaders, f"loops.{loop}.state_dict")
        other = version != lightning.__version__
        check_alike({**state, "state_dict": {}}, {**template, "state_dict": {}}, f"loops.{loop}", partial=other)
        _check_counts(state, f"loops.{loop}")


def _check_counts(state: Mapping[str, Any], place: str) -> None:
    """Counters of progress are never below zero."""
    for name, value in state.items():
        if name == "state_dict":
            continue
        if isinstance(value, dict):
            _check_counts(value, f"{place}.{name}")
        elif not isinstance(value, bool):
            check(value, NonNegativeInt, f"{place}.{name}")


def _check_callbacks(checkpoint: Mapping[str, Any], callbacks: Sequence[Callback], module: MultiTaskModule) -> None:
    states = checkpoint.get("callbacks", {})
    if not isinstance(states, dict):
        raise MtlError(f"callbacks is {shown(states)}, not a mapping")
    for callback in callbacks:
        place = f"callbacks.{callback.state_key}"
        if callback.state_key not in states:  # it came with a setting; what selects the best weights is always there
            if callback.state_key == "Checkpoints" and "callbacks" in checkpoint:
                raise MtlError(f"{place} is missing")
            continue
        state = states[callback.state_key]
        if isinstance(callback, RelationsCallback | AffinityCallback):
            _check_pairs(state, callback, module, place)
        elif callback.state_key in STATES:
            check(state, STATES[callback.state_key], place)


def _check_pairs(state: Any, callback: Callback, module: MultiTaskModule, place: str) -> None:
    """Sums over pairs of the run's own tasks; a run that has not begun has none."""
    names = list(module.schema.task_index)
    square = torch.zeros(len(names), len(names), dtype=torch.float64)
    pairs: dict[str, Any] = {"sums": square, "samples": square}
    if isinstance(callback, RelationsCallback):
        today = vars(GradientRelations(tuple(names)))
        left_out = {"tasks", *(set(ADDED) - set(state if isinstance(state, dict) else ()))}
        pairs = {name: value for name, value in today.items() if name not in left_out}
    if state != {}:
        check_alike(state, {"tasks": names, **pairs}, place)
        if state["tasks"] != names:
            raise MtlError(f"{place}.tasks are others than the run's")


def _check_random_states(checkpoint: Mapping[str, Any]) -> None:
    """Try the states on generators of their own."""
    states = checkpoint.get("random_states", [])
    if not isinstance(states, list | tuple):
        raise MtlError(f"random_states is {shown(states)}, not a list")
    for index, state in enumerate(states):
        try:
            torch.Generator().set_state(state["torch"])
            if not all(isinstance(one, Tensor) and one.dtype == torch.uint8 for one in state["cuda"]):
                raise TypeError("cuda")
            kind, keys, position, has_gauss, cached = state["numpy"]
            words = np.array(keys, dtype=np.uint32)
            np.random.RandomState().set_state((kind, words, position, has_gauss, cached))
            version, words, gauss = state["python"]
            random.Random().setstate((version, tuple(words), gauss))
        except Exception as error:  # generators of three libraries: each refuses in its own way
            raise MtlError(f"random_states[{index}] is no state of generators: {error}") from error
