"""Callbacks that make a run resumable: checkpoints, random states, and stopping on request."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from mtl_lightning.distributed import reduce_sum, world_size
from mtl_lightning.errors import MtlError
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO
from mtl_lightning.runs.directory import BEST, LAST
from mtl_lightning.runs.interrupts import Interrupted, Signals
from mtl_lightning.training.sharded import prune_tables, save_tables

AGREE_EVERY = 10
"""Steps between two collectives that check if any process was asked to stop, and if a checkpoint is due."""


class Checkpoints(Checkpoint):
    """Saves ``last.ckpt`` at step boundaries and ``best.ckpt`` when the validation score rises.

    ``last`` is saved only where Lightning can resume exactly. It is never saved

    - with partly accumulated gradients,
    - between a batch and the validation that follows it, which a resumed run would skip,
    - after an epoch has ended, when a resumed run would lose the state of the loader.

    So every checkpoint of a run leads to the same weights and the same best score.

    Time is measured by the first process. Its decision travels with the requests to stop, so that all processes save at
    the same step.

    Args:
        directory: Directory of the checkpoints; the choice of the first process counts.
        every_n_steps: Optimizer steps between two saves within an epoch; 0 for no limit.
        every_seconds: Seconds between the end of a save and the start of the next within an epoch; 0 for no limit.
        patience: Consecutive validations without a better score after which training stops; None for never.
            Validations with an undefined score do not count.
        monitor: Logged value that selects the best weights; higher is better.
        signals: Where requests to stop arrive.

    Raises:
        Interrupted: While training, after saving, if a signal asked to stop.

    Example:
        >>> Checkpoints(Path("checkpoints")).best_score is None
        True
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        every_n_steps: int = 500,
        every_seconds: float = 0.0,
        patience: int | None = None,
        monitor: str = "validation/score",
        signals: Signals | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.every_n_steps = every_n_steps
        self.every_seconds = every_seconds
        self.patience = patience
        self.monitor = monitor
        self.signals = signals or Signals()
        self.best_score: float | None = None
        self.best_step = 0
        self.since_best = 0
        self.undefined = False
        self._stepped = 0
        self._saved = -1
        self._saved_at = 0.0
        self._held: list[int] = []
        self._to_keep: set[int] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Broadcast the directory of the first process."""
        if stage == TrainerFn.FITTING:
            self.directory = Path(trainer.strategy.broadcast(str(self.directory)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals wait for the end of a step."""
        self.signals.install()
        self.signals.deferring = True
        self._stepped = trainer.global_step
        self._saved_at = monotonic()
        self._held = [trainer.global_step]
        self._lose_patience(trainer)  # the run may have been interrupted just before it stopped

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when a checkpoint is due, and stop on request."""
        step = trainer.global_step
        # A step whose update was skipped counts; a batch that only accumulates does not.
        if step == self._stepped:
            return
        self._stepped = step
        epoch_loop = trainer.fit_loop.epoch_loop
        fetcher = trainer.fit_loop._data_fetcher
        if fetcher is not None and epoch_loop._should_check_val_fx(fetcher) and any(trainer.num_val_batches):
            return
        is_last_batch = epoch_loop.batch_progress.is_last_batch
        ask = is_last_batch or world_size() == 1 or step % AGREE_EVERY == 0
        stop, due = self._decide(trainer) if ask else (False, False)
        due = due or bool(self.every_n_steps and step % self.every_n_steps == 0)
        if stop or due or is_last_batch or _is_the_last(trainer):
            self._save_last(trainer)
        if stop:
            self._stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the weights if they are the best so far, then the state."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        better = trainer.strategy.broadcast(self._improves(trainer))
        if better is None and not self.undefined:
            rank_zero_warn(f"{self.monitor} is undefined: it selects no weights, and run.patience does not count it")
        self.undefined = better is None
        self.since_best += better is False
        if better:
            self.since_best = 0
            self.best_score = float(trainer.callback_metrics[self.monitor])
            self.best_step = trainer.global_step
            self._save(trainer, BEST, weights_only=True)
        self._lose_patience(trainer)
        if not trainer.fit_loop._should_accumulate():
            self._save_last(trainer)
            if self._decide(trainer)[0]:
                self._stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of a run unless its last step did, and stop if a signal has arrived since."""
        if self._saved != trainer.global_step:
            self._save_last(trainer)
        self._finish(trainer)
        self.signals.deferring = False
        if self._decide(trainer)[0]:
            self._stop(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save nothing: weights may be half updated, and the last checkpoint is exact."""
        self.signals.deferring = False
        try:
            self._finish(trainer)
        except MtlError as error:  # the exception is the reason why training ends
            rank_zero_warn(str(error))

    def _improves(self, trainer: Trainer) -> bool | None:
        """True if the score is the best so far; None if it is undefined."""
        score = trainer.callback_metrics.get(self.monitor)
        if score is None or torch.isnan(score):
            return None
        return self.best_score is None or float(score) > self.best_score

    def _lose_patience(self, trainer: Trainer) -> None:
        if self.patience is not None and self.since_best >= self.patience:
            trainer.should_stop = True

    def _save_last(self, trainer: Trainer) -> None:
        self._saved = trainer.global_step
        self._held = [*self._held[-1:], trainer.global_step]
        self._save(trainer, LAST, weights_only=False)
        self._saved_at = monotonic()

    def _save(self, trainer: Trainer, name: str, *, weights_only: bool) -> None:
        self._finish(trainer)
        network = getattr(trainer.lightning_module, "network", None)
        if network is not None:
            save_tables(network.encoder, self.directory, trainer.global_step)
        trainer.save_checkpoint(self.directory / name, weights_only=weights_only)
        self._to_keep = {*self._held, self.best_step, trainer.global_step}
        if not getattr(trainer.strategy.checkpoint_io, "background", False):
            self._finish(trainer)

    def _finish(self, trainer: Trainer) -> None:
        """Wait for the checkpoint that is being written; raise its error."""
        to_keep, self._to_keep = self._to_keep, None
        if isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO):
            trainer.strategy.checkpoint_io.finish()
        # Prune only now: the old checkpoint referred to the folder until it was replaced.
        if trainer.is_global_zero and to_keep is not None:
            prune_tables(self.directory, to_keep)

    def _decide(self, trainer: Trainer) -> tuple[bool, bool]:
        """Return whether any process was asked to stop, and whether the first one's clock says that one is due."""
        due = trainer.is_global_zero and 0 < self.every_seconds <= monotonic() - self._saved_at
        flags = [self.signals.received is not None, due]
        if world_size() > 1:
            flags = reduce_sum(torch.tensor(flags, dtype=torch.int32, device=trainer.strategy.root_device)).tolist()
        return bool(flags[0]), bool(flags[1])

    def _stop(self, trainer: Trainer) -> None:
        self._finish(trainer)
        # Another process may have received the signal.
        raise Interrupted(self.signals.received or 15)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far, its step, and the validations since."""
        return {"best_score": self.best_score, "best_step": self.best_step, "since_best": self.since_best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]
        self.since_best = state_dict["since_best"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the checkpoint if no step follows, since Lightning has counted the epoch as finished by then."""
        self._saved = checkpoint["global_step"]


def _is_the_last(trainer: Trainer) -> bool:
    # After this step Lightning counts the epoch as finished, even if rows are left: a run that is resumed from there
    # with a larger limit would never see them.
    stops = trainer.should_stop and trainer.fit_loop._can_stop_early
    return bool(stops or 0 <= trainer.max_steps <= trainer.global_step)


class RandomStates(Callback):
    """Saves and restores the random states of torch, numpy and Python on every process.

    Example:
        >>> state = random_state()
        >>> first = torch.rand(2), random.random(), np.random.rand()
        >>> restore_random_state(state)
        >>> second = torch.rand(2), random.random(), np.random.rand()
        >>> torch.equal(first[0], second[0]), first[1:] == second[1:]
        (True, True)
    """

    def __init__(self) -> None:
        self._states: Sequence[Mapping[str, Any]] = ()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Collect the states of all processes."""
        states: list[Any] = [random_state()]
        if world_size() > 1:
            states = [None] * world_size()
            dist.all_gather_object(states, random_state())
        checkpoint["random_states"] = states

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the states until the first batch, since setting up draws random numbers, too."""
        self._states = checkpoint.get("random_states", ())
        if self._states and len(self._states) != trainer.world_size:
            rank_zero_warn(
                f"the checkpoint was saved by {len(self._states)} processes, this run has {trainer.world_size}: "
                "random numbers (dropout) will differ from an uninterrupted run"
            )
            self._states = ()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore this process's states before the first batch (the loader draws nothing from the global states)."""
        if self._states:
            restore_random_state(self._states[trainer.global_rank])
            self._states = ()


def random_state() -> dict[str, Any]:
    """The global random states, as tensors and plain lists."""
    version, words, gauss = random.getstate()
    # The global generator: other libraries draw from it.
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "python": [version, list(words), gauss],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Inverse of :func:`random_state`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
