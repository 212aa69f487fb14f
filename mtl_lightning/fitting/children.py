"""Other processes of a run on this machine: ending them with this one, and finding the one that failed."""

import signal
import threading
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

import torch.distributed as dist
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from typing_extensions import override

PATIENCE = 60.0
"""Seconds which the first process may take to end after a child has failed or was stopped."""


def children(trainer: Trainer) -> list[Any]:
    """Processes that the launcher of this process started; empty on other ranks, and under torchrun and SLURM."""
    return list(getattr(trainer.strategy.launcher, "procs", None) or [])


def exit_code(child: Any) -> int | None:
    """Exit code of a child; None while it runs."""
    return child.poll() if isinstance(child, Popen) else child.exitcode


def end(trainer: Trainer, *, ask: bool = False, patience: float = 10.0) -> None:
    """Wait for the children to end, then kill the others.

    A process that waits in a collective for a process that has died handles no signal except for SIGKILL. Killing it
    loses nothing, since only the first process writes.

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


class PatientLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher, which lets the first process end by itself within :data:`PATIENCE` seconds.

    Lightning's own kills it at the first look after a child has ended with an exit code other than 0, every 5 seconds:
    before a run that was stopped has said how to continue, or a failed one why.

    Args:
        launcher: The launcher to replace.
    """

    def __init__(self, launcher: _SubprocessScriptLauncher) -> None:
        super().__init__(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)

    @override
    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        def observed(*args: Any, **kwargs: Any) -> Any:
            for thread in threading.enumerate():
                if isinstance(thread, _ChildProcessObserver) and thread._child_processes is self.procs:
                    vars(thread)["_terminate_all"] = _patiently(thread._terminate_all)
            return function(*args, **kwargs)

        return super().launch(observed, *args, trainer=trainer, **kwargs)


def _patiently(kill: Callable[[], None]) -> Callable[[], None]:
    def later() -> None:
        time.sleep(PATIENCE)  # in a daemon thread, which ends with the process
        kill()

    return later


def leave() -> None:
    """Destroy the process group after the last collective, while the interpreter still runs.

    Lightning does this for NCCL only. A thread of gloo may hold the last reference to a Python tensor when the
    interpreter has ended. Then the process aborts although it has succeeded. Do not call this after a failure: it waits
    for pending collectives.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def failed_child(trainer: Trainer, patience: float = 2.0) -> tuple[int, int] | None:
    """Rank on this machine and exit code of a failed child; None if none fails within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        # Lightning's launcher starts ranks from 1 in scripts, from 0 where it spawns.
        codes = [(exit_code(child), i + isinstance(child, Popen)) for i, child in enumerate(children(trainer))]
        ended = [(code, rank) for code, rank in codes if code]
        if ended:  # a child ended by a signal comes first: the others fail because it is missing
            code, rank = min(ended)
            return rank, code
        if time.monotonic() >= deadline or not children(trainer):
            return None
        time.sleep(0.05)


def any_child_ended(trainer: Trainer, patience: float = 15.0) -> bool:
    """True if a child ends with exit code 0 within ``patience`` seconds, as it does when asked to stop."""
    deadline = time.monotonic() + patience
    while children(trainer) and time.monotonic() < deadline:
        if any(exit_code(child) == 0 for child in children(trainer)):
            return True
        time.sleep(0.05)
    return False


def describe_exit(code: int) -> str:
    """Describe the end of a process.

    Example:
        >>> describe_exit(1), describe_exit(-9)
        ('ended with exit code 1; see above', 'was ended by SIGKILL: out of memory, perhaps')
    """
    if code >= 0:
        return f"ended with exit code {code}; see above"
    hint = ": out of memory, perhaps" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"


BROKEN = ("gloo", "nccl", "processgroup", "tcpstore", "connection closed by peer", "connection reset by peer")
"""Words in messages of backends about a process that is gone or silent, in lower case."""


def lost_peer(error: BaseException) -> str | None:
    """Message of a backend about a process that is gone or silent; None if the error has another reason.

    Backends raise their own errors or plain RuntimeErrors, and none names the process.

    Example:
        >>> lost_peer(RuntimeError("[gloo/pair.cc:5] Read error [127.0.0.1]:4: Connection reset by peer. Check logs"))
        'Read error [127.0.0.1]:4: Connection reset by peer'
        >>> lost_peer(ValueError("gloo")) is None
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
    """The signal of an exit code, if it is a request to stop.

    Example:
        >>> signal_of(143), signal_of(-15), signal_of(1)
        (15, 15, None)
    """
    signum = -code if code < 0 else code - 128
    return signum if signum in (signal.SIGINT, signal.SIGTERM) else None
