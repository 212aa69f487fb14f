"""Ctrl-C and SIGTERM as a request to stop at the next clean point."""

import signal
import threading
from types import FrameType
from typing import Any

HANDLED = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """The run was asked to stop; the exit code follows the shell's custom, 128 + signal.

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

    An exception in the middle of an update leaves weights half changed. So while ``deferring`` is on, the first
    signal only sets :attr:`received`, and the training loop stops at the end of a step. The same signal again
    stops at once.

    Example:
        >>> signals = Signals()
        >>> signals.deferring = True
        >>> signals.handle(signal.SIGTERM)
        >>> signals.received == signal.SIGTERM
        True
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferring = False
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals, also from others that took them over meanwhile (Lightning does)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in HANDLED:
            before = signal.signal(signum, self.handle)
            self._before.setdefault(signum, before)

    def restore(self) -> None:
        """Give the signals back."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum, before in self._before.items():
            signal.signal(signum, signal.SIG_DFL if before is None else before)
        self._before = {}

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
        return {"received": None, "deferring": False, "_before": {}}
