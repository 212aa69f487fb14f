"""Ctrl-C and SIGTERM as requests to stop after the current step."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mtl_lightning.ranks import process_rank

HANDLED = (signal.SIGINT, signal.SIGTERM)
GRACE = 25.0 if "TORCHELASTIC_RUN_ID" in os.environ else 60.0
"""Seconds that a process which was asked to stop waits in one collective; torchrun kills it after 30."""
WAITING = (str(Path("torch", "distributed")), str(Path("torch", "autograd", "graph.py")))
"""Files of torch in which a process waits for others: collectives, and backward passes with DDP."""


class Interrupted(SystemExit):
    """The run was asked to stop. The exit code is 128 + signal, as in a shell.

    Args:
        signum: The signal.

    Example:
        >>> Interrupted(signal.SIGTERM).code
        143
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class Signals:
    """Remembers a signal while training and raises :class:`Interrupted` at once otherwise.

    An exception in the middle of an update would leave weights half changed. So while ``deferring`` is on, the first
    signal only sets :attr:`received`, and the training loop stops at the end of the step. The same signal again
    stops at once.

    Python runs no handler while a process waits for others inside torch. If the wait lasts ``grace`` seconds after a
    signal, a thread ends the process: the other processes are gone or hang. The last checkpoint is intact.

    Args:
        grace: Seconds to wait for other processes after a signal.

    Example:
        >>> signals = Signals()
        >>> signals.deferring = True
        >>> signals.handle(signal.SIGTERM)
        >>> signals.received == signal.SIGTERM
        True
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.received: int | None = None
        self.deferring = False
        self.grace = grace
        self.abandon: Callable[[], None] | None = None
        """Called before the thread ends the process."""
        self._before: dict[int, Any] = {}
        self._woken: int | None = None

    def install(self) -> None:
        """Install the handlers, also over handlers that were installed since (by Lightning)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in HANDLED:
            before = signal.signal(signum, self.handle)
            self._before.setdefault(signum, before)
        if self._woken is None:
            self._watch()

    def restore(self) -> None:
        """Restore the handlers that were there before :meth:`install`."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum, before in self._before.items():
            signal.signal(signum, signal.SIG_DFL if before is None else before)
        self._before = {}
        if self._woken is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._woken)  # which ends the thread
            self._woken = None

    def _watch(self) -> None:
        """Start the thread. The C part of a handler writes to its pipe, even while the main thread is inside torch."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if before != -1:  # an event loop uses it: leave it alone
            signal.set_wakeup_fd(before)
            os.close(write)
            os.close(read)
            return
        self._woken = write
        threading.Thread(target=self._end_if_stuck, args=(read, threading.get_ident()), daemon=True).start()

    def _end_if_stuck(self, read: int, main: int) -> None:
        signum = 0
        while signum not in HANDLED:
            if not (woken := os.read(read, 1)):
                os.close(read)
                return
            signum = woken[0]
        place, since = None, time.monotonic()
        while self._woken is not None:
            time.sleep(min(0.5, self.grace / 4))
            frame = sys._current_frames().get(main)
            if frame is None or (id(frame), frame.f_lasti) != place or not _waits(frame):
                place, since = (id(frame), frame.f_lasti) if frame else None, time.monotonic()
            elif time.monotonic() - since >= self.grace:
                try:
                    if self.abandon is not None:
                        self.abandon()
                finally:
                    os._exit(128 + signum)
        os.close(read)

    def handle(self, signum: int, frame: FrameType | None = None) -> None:
        """The handler."""
        again = self.received == signum
        # A launcher may forward SIGTERM to processes that the terminal has already sent SIGINT: that is one request.
        if self.received is None:
            self.received = signum
        if again or not self.deferring:
            raise Interrupted(signum)

    def __getstate__(self) -> dict[str, Any]:
        # Spawned processes have their own handlers.
        return {**self.__dict__, "received": None, "deferring": False, "abandon": None, "_before": {}, "_woken": None}


@contextmanager
def handled_signals(*, first_answers: bool = False) -> Iterator[Signals]:
    """Handle Ctrl-C and SIGTERM within a block; the earlier handlers are restored afterwards.

    Args:
        first_answers: For processes that Lightning starts: the exit code of the first one counts. Others exit with 0
            when they are interrupted, since Lightning takes another code for a failure.

    Raises:
        Interrupted: If a signal arrives.

    Example:
        >>> before = signal.getsignal(signal.SIGTERM)
        >>> with handled_signals() as signals:
        ...     signal.getsignal(signal.SIGTERM) == signals.handle
        True
        >>> signal.getsignal(signal.SIGTERM) == before
        True
    """
    signals = Signals()
    signals.install()
    try:
        yield signals
    except Interrupted:
        if first_answers and process_rank() > 0:
            raise SystemExit(0) from None
        raise
    finally:
        signals.restore()


def _waits(frame: FrameType) -> bool:
    """True if the frame is one in which a process may wait for other processes."""
    torch = sys.modules.get("torch.distributed")  # without importing it
    several = torch is not None and torch.is_available() and torch.is_initialized() and torch.get_world_size() > 1
    return several and any(part in frame.f_code.co_filename for part in WAITING)
