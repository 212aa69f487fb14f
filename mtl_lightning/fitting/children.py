"""The other processes of a run on this machine: ending them with this one, and telling whose failure it was."""

import signal
import time
from multiprocessing.process import BaseProcess
from subprocess import Popen
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer

Child = Popen[bytes] | BaseProcess


def children(trainer: Trainer) -> list[Any]:
    """Processes that this one's launcher started; empty on other ranks, and under torchrun and SLURM."""
    return list(getattr(trainer.strategy.launcher, "procs", None) or [])


def exit_code(child: Any) -> int | None:
    """A child's exit code, None while it runs."""
    return child.poll() if isinstance(child, Popen) else child.exitcode


def end(trainer: Trainer, *, ask: bool = False, patience: float = 10.0) -> None:
    """Wait until the children have ended, then end them.

    A process that waits in a collective for one that is gone handles no signal but SIGKILL. Nothing is lost by it:
    only the first process writes.

    Args:
        trainer: The run's Trainer.
        ask: Send SIGTERM first: spawned processes save and stop on it.
        patience: Seconds to wait.
    """
    deadline = time.monotonic() + patience
    running = [child for child in children(trainer) if exit_code(child) is None]
    if ask:
        for child in running:
            child.terminate()
    while running and time.monotonic() < deadline:
        time.sleep(0.05)
        running = [child for child in running if exit_code(child) is None]
    for child in running:
        child.kill()


def leave() -> None:
    """Part from the other processes after the last exchange, while the interpreter still runs.

    Lightning does so for NCCL. A thread of gloo may else be the last to hold a tensor of Python's after the interpreter
    has ended, and then a process whose work is done aborts. Not for failures: it waits for what is under way.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def failed(trainer: Trainer, patience: float = 2.0) -> tuple[int, int] | None:
    """Rank on this machine and exit code of a child that failed, or None if none did within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        # Lightning's launcher starts ranks from 1 in scripts, from 0 where it spawns.
        codes = [(exit_code(child), i + isinstance(child, Popen)) for i, child in enumerate(children(trainer))]
        ended = [(code, rank) for code, rank in codes if code]
        if ended:  # one that a signal ended comes first: the others fail because they miss it
            code, rank = min(ended)
            return rank, code
        if time.monotonic() >= deadline or not children(trainer):
            return None
        time.sleep(0.05)


def left(trainer: Trainer, patience: float = 15.0) -> bool:
    """Whether a child ended without a failure, as one does that was asked to stop, within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while children(trainer) and time.monotonic() < deadline:
        if any(exit_code(child) == 0 for child in children(trainer)):
            return True
        time.sleep(0.05)
    return False


def ending(code: int) -> str:
    """How a process ended, in words.

    Example:
        >>> ending(1), ending(-9)
        ('ended with exit code 1; see above', 'was ended by SIGKILL: out of memory, perhaps')
    """
    if code >= 0:
        return f"ended with exit code {code}; see above"
    hint = ": out of memory, perhaps" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"


BROKEN = ("gloo", "nccl", "processgroup", "tcpstore", "connection closed by peer", "connection reset by peer")
"""Words of the messages with which a backend reports that another process is gone or silent, in lower case."""


def lost(error: BaseException) -> str | None:
    """What a backend says about a process that is gone or silent; None if the error is about something else.

    Backends raise their own errors or plain RuntimeErrors, and none says which process it was.

    Example:
        >>> lost(RuntimeError("[gloo/tcp/pair.cc:537] Read error [127.0.0.1]:4: Connection reset by peer. Check logs"))
        'Read error [127.0.0.1]:4: Connection reset by peer'
        >>> lost(ValueError("gloo")) is None
        True
    """
    text = str(error).strip().split("\n")[0]
    if not isinstance(error, RuntimeError):
        return None
    if not isinstance(error, dist.DistError) and not any(word in text.lower() for word in BROKEN):
        return None
    if text.startswith("["):
        text = text.partition("] ")[2] or text
    return text.split(". ")[0]


def signal_of(code: int) -> int | None:
    """The signal behind an exit code, if it was a request to stop.

    Example:
        >>> signal_of(143), signal_of(-15), signal_of(1)
        (15, 15, None)
    """
    signum = -code if code < 0 else code - 128
    return signum if signum in (signal.SIGINT, signal.SIGTERM) else None
