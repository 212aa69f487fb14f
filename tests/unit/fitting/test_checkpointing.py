"""A run cut off anywhere and resumed ends with the weights and the best score of a run that was not."""

import math
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mtl_lightning.errors import MtlError
from mtl_lightning.fitting.checkpointing import Checkpoints, RandomStates
from mtl_lightning.runs.checkpoint import AtomicCheckpointIO
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Interrupted, Signals

ROWS, BATCH, EPOCHS, ACCUMULATE = 26, 2, 3, 3


class Rows:
    """A loader that can resume in the middle of an epoch."""

    def __init__(self) -> None:
        self.epoch = self.done = 0

    def __len__(self) -> int:
        return ROWS // BATCH

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(self.epoch)).split(BATCH)
        for batch in order[self.done :]:
            self.done += 1
            if self.done == len(self):
                self.epoch, self.done = self.epoch + 1, 0
            yield torch.nn.functional.one_hot(batch, ROWS).float()

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.done = state["epoch"], state["done"]


class Model(LightningModule):
    """Uses every source of random numbers, so that a forgotten one shows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(ROWS, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.epochs_validated: list[int] = []

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        noise = random.random() + float(np.random.rand())  # noqa: NPY002
        loss: Tensor = (self.net(batch) - noise).square().mean()
        return loss

    def validation_step(self, batch: Tensor, index: int) -> None:
        self.log("validation/score", -self.net(batch).square().mean())

    def on_validation_epoch_end(self) -> None:
        self.epochs_validated.append(self.current_epoch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class CutOff(Callback):
    """Stops at a batch or a validation, without a word to anyone."""

    def __init__(self, place: str, at: int) -> None:
        self.place, self.at, self.seen = place, at, 0

    def _count(self, place: str) -> None:
        if place == self.place:
            self.seen += 1
            if self.seen == self.at:
                raise RuntimeError("cut off")

    def on_train_batch_start(self, *args: Any) -> None:
        self._count("batch")

    def on_validation_batch_end(self, *args: Any) -> None:
        self._count("validation batch")

    def on_validation_end(self, *args: Any) -> None:
        self._count("validation end")


class Signal(Callback):
    """Sends this process a signal at a batch."""

    def __init__(self, signum: int, at: int) -> None:
        self.signum, self.at = signum, at

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.at:
            os.kill(os.getpid(), self.signum)


class Stop(Callback):
    """Asks the Trainer to stop, as its limit of time does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.at:
            trainer.should_stop = True


def train(
    run: RunDirectory,
    *callbacks: Callback,
    validate: bool = True,
    patience: int | None = None,
    seconds: float = 0.0,
    background: bool = False,
    **options: Any,
) -> tuple[Model, Checkpoints]:
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    model = Model()
    torch.manual_seed(5)
    signals = Signals()
    period = {"every_n_steps": 0 if seconds else 2, "every_seconds": seconds}
    checkpoints = Checkpoints(run.checkpoints, **period, patience=patience, signals=signals)
    trainer = Trainer(
        max_epochs=EPOCHS,
        accumulate_grad_batches=ACCUMULATE,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[RandomStates(), checkpoints, *callbacks],
        plugins=[AtomicCheckpointIO(background=background)],
        **options,
    )
    held_out = DataLoader(list(torch.eye(ROWS)), batch_size=4) if validate else []
    signals.install()
    try:
        trainer.fit(model, Rows(), held_out, ckpt_path=run.resume_checkpoint(), weights_only=True)
    finally:
        signals.restore()
    return model, checkpoints


def fingerprint(model: Model, checkpoints: Checkpoints) -> tuple[Any, ...]:
    return [p.tolist() for p in model.parameters()], checkpoints.best_score, checkpoints.best_step


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    return {
        str(options): fingerprint(*train(RunDirectory(tmp_path_factory.mktemp("whole")), **options))
        for options in SETTINGS
    }


BATCHES = [("batch", at) for at in (2, 7, 8, 13, 14, 15, 20, 26, 27, 28, 39)]
VALIDATIONS = [("validation batch", 3), ("validation batch", 9), ("validation end", 1), ("validation end", 3)]
SETTINGS: list[dict[str, Any]] = [{}, {"validate": False}, {"val_check_interval": 4}]
CUTS = [
    (options, place, at)
    for options in SETTINGS
    for place, at in (BATCHES + VALIDATIONS if options.get("validate", True) else BATCHES)
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("options", "place", "at"), CUTS, ids=str)
def test_cut_off_and_resumed(tmp_path: Path, whole: dict[Any, Any], options: Any, place: str, at: int) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(RuntimeError, match="cut off"):
        train(run, CutOff(place, at), background=at % 2 == 1, **options)
    assert fingerprint(*train(run, background=at % 4 == 0, **options)) == whole[str(options)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("at", [0, 4, 12, 25])
def test_a_signal_saves_at_the_end_of_the_step(
    tmp_path: Path, whole: dict[Any, Any], signum: int, code: int, at: int
) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(Interrupted) as caught:
        train(run, Signal(signum, at))
    assert caught.value.code == code
    saved = AtomicCheckpointIO().load_checkpoint(run.checkpoints / "last.ckpt")
    batches = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]
    assert at < batches <= at + ACCUMULATE
    assert fingerprint(*train(run)) == whole["{}"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("at", [1, 3, 5, 7, 8])
def test_a_run_whose_limit_grows_goes_on_where_it_stopped(
    tmp_path: Path, whole: dict[Any, Any], options: Any, at: int
) -> None:
    limited, asked = RunDirectory(tmp_path / "limited"), RunDirectory(tmp_path / "asked")
    train(limited, max_steps=at, **options)
    assert fingerprint(*train(limited, **options)) == whole[str(options)]
    train(asked, Stop(at), **options)
    result = fingerprint(*train(asked, **options))
    if not options.get("validate", True):  # else it was validated where it stopped, which draws random numbers
        assert result == whole[str(options)]
    last = AtomicCheckpointIO().load_checkpoint(asked.checkpoints / "last.ckpt")
    assert last["global_step"] == EPOCHS * math.ceil(ROWS / BATCH / ACCUMULATE)


def test_a_finished_run_resumes_to_itself(tmp_path: Path, whole: dict[Any, Any]) -> None:
    run = RunDirectory(tmp_path)
    train(run)
    assert fingerprint(*train(run)) == whole["{}"]


def test_best_is_the_best_validated(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    _, checkpoints = train(run)
    best = AtomicCheckpointIO().load_checkpoint(run.best)
    assert best["global_step"] == checkpoints.best_step > 0
    assert "optimizer_states" not in best
    model = Model()
    model.load_state_dict(best["state_dict"])
    with torch.no_grad():
        score = -model.eval().net(torch.eye(ROWS)).square().mean()
    assert float(score) == pytest.approx(checkpoints.best_score, rel=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("place", "at"), [("batch", 20), ("validation end", 1), ("validation end", 2)])
def test_patience_ends_a_run_once_and_for_all(tmp_path: Path, place: str, at: int) -> None:
    model, checkpoints = train(RunDirectory(tmp_path / "whole"), patience=1)
    assert model.epochs_validated == [0, 1]
    run = RunDirectory(tmp_path / "cut")
    with pytest.raises(RuntimeError, match="cut off"):
        train(run, CutOff(place, at), patience=1)
    for _ in range(2):
        assert fingerprint(*train(run, patience=1)) == fingerprint(model, checkpoints)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A clock that advances by one second per step."""
    now = {"time": 0.0}
    monkeypatch.setattr("mtl_lightning.fitting.checkpointing.monotonic", lambda: now["time"])
    return now


class Clock(Callback):
    """Advances the clock, and notes the steps of ``last.ckpt``."""

    def __init__(self, now: dict[str, float], checkpoints: Path) -> None:
        self.now, self.last, self.steps = now, checkpoints / "last.ckpt", [0]

    def on_before_optimizer_step(self, trainer: Trainer, *args: Any) -> None:
        self.now["time"] += 1
        if self.last.exists():
            self.steps.append(AtomicCheckpointIO().load_checkpoint(self.last)["global_step"])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_saves_after_the_time_and_resumes_exactly(
    tmp_path: Path, whole: dict[Any, Any], clock: dict[str, float]
) -> None:
    run = RunDirectory(tmp_path)
    timer = Clock(clock, run.checkpoints)
    with pytest.raises(RuntimeError, match="cut off"):
        train(run, timer, CutOff("batch", 39), seconds=3)
    # Five steps an epoch: three seconds pass at its third step, and its end restarts the clock.
    assert sorted(set(timer.steps)) == [0, 3, 5, 8, 10, 13]
    assert fingerprint(*train(run, seconds=3)) == whole["{}"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_failed_write_in_the_background_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def save(content: Any, file: Any) -> None:
        written.append(Path(file.name))
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        torch_save(content, file)

    torch_save = torch.save
    monkeypatch.setattr(torch, "save", save)
    run = RunDirectory(tmp_path)
    with pytest.raises(MtlError, match="No space left"):
        train(run, background=True, validate=False)
    assert len(written) == 3  # the next save raised, before it wrote
    monkeypatch.undo()
    assert AtomicCheckpointIO().load_checkpoint(run.checkpoints / "last.ckpt")["global_step"] == 4


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_failed_write_of_the_end_in_the_background_ends_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_save = torch.save

    def save(content: Any, file: Any) -> None:
        if content["global_step"] == EPOCHS * 5:
            raise OSError(28, "No space left on device")
        torch_save(content, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(MtlError, match="No space left"):
        train(RunDirectory(tmp_path), background=True, validate=False)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_failed_write_in_the_background_is_reported_next_to_another_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(content: Any, file: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.warns(UserWarning, match="No space left"), pytest.raises(RuntimeError, match="cut off"):
        train(RunDirectory(tmp_path), CutOff("batch", 8), background=True)
