"""Checks of a checkpoint against the run that reads it, before anything of it is used."""

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

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


class SavedTrained(TypedDict):
    """Weights that the optimizer updates, where ``state_dict`` holds averages of them."""

    weights: dict[str, Tensor]
    updates: NonNegativeInt


class SavedModule(TypedDict):
    """Part of a checkpoint that :class:`MultiTaskModule` adds."""

    batches: NonNegativeInt
    skipped: NonNegativeInt
    schema: dict[str, Any]
    config: dict[str, Any]
    trained: NotRequired[SavedTrained]
    tables_drawn_in: NotRequired[NonNegativeInt]


class SavedLoader(TypedDict):
    """State of a :class:`~mtl_lightning.data.store.loader.Loader`."""

    seed: int
    epoch: NonNegativeInt
    cursor: NonNegativeInt
    rows: NonNegativeInt
    steps: NonNegativeInt
    pool: NotRequired[int | None]
    order: NotRequired[Literal["array", "function"]]
    start: NotRequired[NonNegativeInt | None]


class SavedLoaders(TypedDict):
    """State of the loop over batches; it has no loader at the end of an epoch."""

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
"""States of callbacks by key. Sums over pairs of tasks are checked by shape instead."""


class Expectation:
    """Checks that a checkpoint fits a run: the ``expect`` of an :class:`AtomicCheckpointIO`.

    Args:
        module: The run's module.
        trainer: Its Trainer; None if only weights are read. While it trains, the state that a resumed run needs is
            checked as well.

    Raises:
        MtlError: When called with a checkpoint in which a value is missing or wrong.

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
            _check_trained(checkpoint, self.module)
            _check_random_states(checkpoint)


def load_weights(module: MultiTaskModule, path: Path) -> None:
    """Load the weights of a checkpoint into a module that was built for them.

    Raises:
        CheckpointError: If the file can't be read, or has the weights of another module.
    """
    checkpoint = AtomicCheckpointIO(expect=Expectation(module)).load_checkpoint(path)
    module.load_state_dict(checkpoint["state_dict"])


def restoring(trainer: Trainer) -> bool:
    """True while a Trainer restores a checkpoint: it keeps the content until it has finished."""
    return bool(trainer._checkpoint_connector._loaded_checkpoint)


def unrestored(path: Path | None, error: Exception) -> CheckpointError:
    """The error to raise for an error that occurred while a checkpoint was restored."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return CheckpointError(f"the checkpoint {path} can't be restored: {reason}", "start again", reason)


def check_saved_module(checkpoint: Mapping[str, Any]) -> None:
    """Check the parts of every checkpoint of a run: schema, configuration, counters, and finite weights.

    Raises:
        MtlError: With the place of a wrong value.
    """
    require_keys(checkpoint, "mtl_lightning", "state_dict")
    check(checkpoint["mtl_lightning"], SavedModule, "mtl_lightning")
    check_schema(checkpoint["mtl_lightning"]["schema"], "mtl_lightning.schema")
    weights = checkpoint["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise MtlError("state_dict is not a mapping of names")
    for name, value in weights.items():
        if isinstance(value, Tensor) and name.startswith(("network.", "weighter.")):  # metrics may have other buffers
            require_tensor(value, None, f"state_dict.{name}", floating=value.is_floating_point())


def check_weights(checkpoint: Mapping[str, Any], module: MultiTaskModule) -> None:
    """Check that a checkpoint has exactly the weights of a module.

    Raises:
        UnfitError: If names, types or shapes differ.
    """
    weights, own = checkpoint["state_dict"], module.state_dict()
    if different := sorted(weights.keys() ^ own.keys()):
        raise _unfit(f"{different[0]} is {'unknown' if different[0] in weights else 'missing'}")
    for name, value in own.items():
        saved = weights[name]
        if not isinstance(value, Tensor):
            if type(saved) is not type(value) or (isinstance(value, dict) and saved.keys() != value.keys()):
                raise _unfit(f"{name} is a {type(saved).__name__}")
        elif not isinstance(saved, Tensor) or saved.is_floating_point() != value.is_floating_point():
            raise _unfit(f"{name} is of another type")
        elif saved.shape != value.shape:
            raise _unfit(f"{name} is {list(saved.shape)}, not {list(value.shape)}")


def _check_trained(checkpoint: Mapping[str, Any], module: MultiTaskModule) -> None:
    """Check that the weights next to averages have the names and shapes of the module's."""
    trained = checkpoint["mtl_lightning"].get("trained")
    if trained is None:
        return
    own = module.dense_parameters()
    if different := sorted(trained["weights"].keys() ^ own.keys()):
        raise _unfit(f"mtl_lightning.trained.weights.{different[0]} is unknown or missing")
    for name, value in trained["weights"].items():
        require_tensor(value, own[name].shape, f"mtl_lightning.trained.weights.{name}", floating=True)


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
    """Check that counters of progress are not negative."""
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
        if callback.state_key not in states:  # the callback is new in this run; Checkpoints is always there
            if callback.state_key == "Checkpoints" and "callbacks" in checkpoint:
                raise MtlError(f"{place} is missing")
            continue
        state = states[callback.state_key]
        if isinstance(callback, RelationsCallback | AffinityCallback):
            _check_pairs(state, callback, module, place)
        elif callback.state_key in STATES:
            check(state, STATES[callback.state_key], place)


def _check_pairs(state: Any, callback: Callback, module: MultiTaskModule, place: str) -> None:
    """Check sums over pairs of the run's tasks; they are missing before the first step."""
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
            raise MtlError(f"{place}.tasks differ from the run's tasks")


def _check_random_states(checkpoint: Mapping[str, Any]) -> None:
    """Check the states by loading them into new generators."""
    states = checkpoint.get("random_states", [])
    if not isinstance(states, list | tuple):
        raise MtlError(f"random_states is {shown(states)}, not a list")
    for index, state in enumerate(states):
        try:
            torch.Generator().set_state(state["torch"])
            if not all(isinstance(cuda, Tensor) and cuda.dtype == torch.uint8 for cuda in state["cuda"]):
                raise TypeError("cuda")
            kind, keys, position, has_gauss, cached = state["numpy"]
            words = np.array(keys, dtype=np.uint32)
            np.random.RandomState().set_state((kind, words, position, has_gauss, cached))
            version, words, gauss = state["python"]
            random.Random().setstate((version, tuple(words), gauss))
        except Exception as error:  # generators of three libraries raise errors of different types
            raise MtlError(f"random_states[{index}] is not a state of generators: {error}") from error
