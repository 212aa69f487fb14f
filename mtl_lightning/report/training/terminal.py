"""Terminal output of a training: a progress line, and a table of metrics after each validation."""

import logging
import time
import warnings
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mtl_lightning.printable import Console
from mtl_lightning.report.render.tables import metrics_table, number
from mtl_lightning.report.training.notebook import NotebookProgress


class Terminal(Callback):
    """Prints progress and metrics on the first process.

    The progress line appears on terminals and in notebooks, not in files or CI logs. It is not updated at every
    step, because an update may take longer than a small step.

    Args:
        refresh_every: Batches between two updates of the progress line.
        show_progress: Whether to show the progress line.
        patience: Validations without a better score after which training stops, for the message; None if it does not.
        quiet: Print nothing.

    Example:
        >>> Terminal(refresh_every=50).refresh_every
        50
    """

    def __init__(
        self, *, refresh_every: int = 20, show_progress: bool = True, patience: int | None = None, quiet: bool = False
    ) -> None:
        self.refresh_every = refresh_every
        self.quiet = quiet
        self.patience = patience
        self.show_progress = show_progress
        self._console: Console | None = None
        self._progress: Progress | NotebookProgress | None = None
        self._bar: Any = None
        self._since = 0.0
        self._batches = 0

    @property
    def console(self) -> Console:
        """Console of this process. It is created on first use, because it cannot be pickled for a spawned process."""
        if self._console is None:
            self._console = Console(emoji=False, quiet=self.quiet)
        return self._console

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Silence Lightning also in spawned processes."""
        quiet_lightning()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the progress line."""
        notebook = self.console.is_jupyter
        shown = self.console.is_terminal or notebook
        if not (self.show_progress and trainer.is_global_zero and shown and not self.quiet):
            return
        self._progress = NotebookProgress() if notebook else self._line()
        self._bar = self._progress.add_task("training", note="")
        self._progress.start()

    def _line(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
        )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the progress line for the epoch."""
        self._since, self._batches = time.monotonic(), 0
        if self._progress is not None:
            total = trainer.num_training_batches
            self._progress.reset(self._bar, total=int(total) if total != float("inf") else None)
            self._progress.update(self._bar, description=self._epoch(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the progress line every ``refresh_every`` batches."""
        self._batches += 1
        if self._progress is None or (batch_idx + 1) % self.refresh_every:
            return
        loss = trainer.progress_bar_metrics.get("loss")
        speed = self._batches / max(time.monotonic() - self._since, 1e-9)
        note = f"{speed:.0f} batches/s" + (f", loss {number(float(loss))}" if isinstance(loss, int | float) else "")
        self._progress.update(self._bar, completed=batch_idx + 1, note=note)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that a validation is running."""
        if self._progress is not None:
            self._progress.update(self._bar, note="validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the metrics of the validation."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        results = {name: float(value) for name, value in trainer.callback_metrics.items()}
        title = f"Validation, {self._epoch(trainer)}, step {trainer.global_step:,}"
        self.console.print(metrics_table(results, "validation", title))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the progress line, and print the reason if training stops before its last epoch."""
        self._stop()
        early = trainer.should_stop and trainer.current_epoch != trainer.max_epochs
        if early and trainer.is_global_zero and self.patience is not None:
            epochs = f"{trainer.current_epoch} epoch{'s' * (trainer.current_epoch > 1)}"
            counts = (getattr(callback, "since_best", 0) for callback in trainer.callbacks)  # type: ignore[attr-defined]
            out_of_patience = max(counts, default=0) >= self.patience
            reason = (
                f"no better score in {self.patience} validations in a row (run.patience)"
                if out_of_patience
                else "a limit or a callback requested it"
            )
            self.console.print(f"stopped after {epochs}: {reason}", highlight=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the progress line before an error is printed."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    @staticmethod
    def _epoch(trainer: Trainer) -> str:
        total = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        return f"epoch {trainer.current_epoch + 1}{total}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_console": None, "_progress": None, "_bar": None}


def quiet_lightning() -> None:
    """Silence Lightning's banners and its advice on data loaders; other warnings are kept."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*isinstance\(treespec, LeafSpec\).*",
        r".*does not have many workers.*",
        r".*smaller than the logging interval.*",
        r".*srun.*command is available.*",
    ):
        warnings.filterwarnings("ignore", message=message)
