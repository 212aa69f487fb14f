"""Failures while a run trains or is evaluated: what is wrong, and how to continue."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lightning.pytorch import Trainer
from torch.multiprocessing.spawn import ProcessRaisedException

from mtl_lightning.errors import MtlError
from mtl_lightning.fitting import children
from mtl_lightning.fitting.checkpointing import Checkpoints
from mtl_lightning.fitting.memory import exhausted
from mtl_lightning.printable import Console
from mtl_lightning.ranks import process_rank
from mtl_lightning.report.render.console import resume_command, say
from mtl_lightning.runs.checkpoint import CheckpointError
from mtl_lightning.runs.directory import RunDirectory
from mtl_lightning.runs.interrupts import Interrupted

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, of a quota and of a limit on the size of files."""


class TrainingError(MtlError):
    """A training or evaluation that failed.

    Args:
        message: What failed, and why.
        hint: How to continue.
    """


class LostProcessError(TrainingError):
    """A failure because another process is gone or silent: every process that is left raises it."""


class Failures:
    """Ends the processes of a run that fails, and raises errors that say why it failed and how to continue.

    Args:
        trainer: The run's Trainer.
        checkpoints: Its callback that saves checkpoints.
        timeout: Seconds after which a silent process counts as lost.
        console: Where to print how to continue, for interruptions and for errors that pass through.

    Example:
        ``with failures.explained(): trainer.fit(module)``
    """

    def __init__(self, trainer: Trainer, checkpoints: Checkpoints, timeout: float, console: Console) -> None:
        self.trainer, self.checkpoints, self.timeout, self.console = trainer, checkpoints, timeout, console
        checkpoints.signals.abandon = self._abandon

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Run a block that may be interrupted or fail on any process.

        Raises:
            Interrupted: On a signal to any process.
            TrainingError: If the block fails for a reason that the user can act on.
            CheckpointError: If a checkpoint can't be used; nothing has been trained by then.
        """
        try:
            yield
        except Interrupted as interrupted:
            self._interrupt(interrupted.signum)
        except CheckpointError:
            children.end(self.trainer, patience=0)
            raise
        except MtlError as error:
            children.end(self.trainer, patience=0)
            raise self._failure(str(error)) from error
        except Exception as error:
            self._explain(error)
            say(self.console, self._continuation())
            raise

    def _explain(self, error: Exception) -> None:
        """End the other processes, and raise another error if the reason of this one is known."""
        failed_child, lost = children.failed_child(self.trainer), children.lost_peer(error)
        signum = self.checkpoints.signals.received
        if lost is not None and failed_child is None and signum is None and children.any_child_ended(self.trainer):
            signum = signal.SIGTERM  # the other process received it, and ended at once
        children.end(self.trainer, patience=0)
        if (memory := exhausted(error)) is not None:
            raise self._failure(memory) from error
        if failed_child is not None:
            rank, code = failed_child
            if child_signum := children.signal_of(code):
                self._interrupt(child_signum)
            reason = _spawned_message(error) or f"the process of rank {rank} {children.describe_exit(code)}"
            raise self._failure(reason) from error
        if lost is not None and signum is not None:
            self._interrupt(signum)
        if lost is not None:
            silent = f"another process died, or was silent for run.timeout={self.timeout:g} s"
            reason = f"process {process_rank()}: {silent} ({lost}). Its own output, or its launcher's, says why"
            raise LostProcessError(f"training failed: {reason}", self._continuation()) from error
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            path = error.filename or self._directory
            raise self._failure(f"{path} can't be written: {error.strerror}") from error

    def _interrupt(self, signum: int) -> NoReturn:
        children.end(self.trainer, ask=True)
        say(self.console, f"stopped by signal {signum}. {self._continuation()}")
        raise Interrupted(signum)

    def _abandon(self) -> None:
        """End the child processes: this one was asked to stop while it waited for a process that does not answer."""
        children.end(self.trainer, patience=0)
        say(self.console, f"stopped without an answer of the other processes. {self._continuation()}")

    def _failure(self, reason: str) -> TrainingError:
        return TrainingError(f"training failed: {reason}", self._continuation())

    @property
    def _directory(self) -> Path:
        return self.checkpoints.directory.parent  # chosen by the first process

    def _continuation(self) -> str:
        return continuation(self._directory)


def continuation(directory: Path) -> str:
    """Say how to continue the run in a directory."""
    saved = RunDirectory(directory).resume_checkpoint()
    command = resume_command(directory)
    if os.environ.get("TORCHELASTIC_RUN_ID"):
        command = f"under torchrun as before, with fit resume={directory}"
    if saved is not None:
        return f"Saved in {saved}. To continue: {command}"
    return f"There is no checkpoint to continue from; to start again from the beginning: {command}"


def _spawned_message(error: Exception) -> str:
    """The message of an MtlError in a spawned process; empty for other errors."""
    if not isinstance(error, ProcessRaisedException):
        return ""
    last = str(error).strip().splitlines()[-1]
    name, _, message = last.partition(": ")
    return message if name.startswith("mtl_lightning.") else ""
