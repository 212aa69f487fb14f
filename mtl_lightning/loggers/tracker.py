"""The base class of loggers that talk to a server, which may be slow, or gone."""

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.utilities import rank_zero_warn

from mtl_lightning.errors import MtlError
from mtl_lightning.loggers.base import RunLogger, Status
from mtl_lightning.runs.directory import RunDirectory

FILE = "loggers.json"
"""Identities of the run in its trackers, so that a resumed run continues it there."""
Record = tuple[str, tuple[Any, ...]]


class Tracker(RunLogger):
    """Sends values to a server from a thread of its own, so that training never waits for it.

    A server that can't be reached causes one warning. Records are kept in memory and sent once it answers; what it
    still has not received ``wait`` seconds after the end of the run is left out, with a warning that gives the number.
    A record that the server rejects is left out with a warning, too.

    Args:
        directory: The run directory.
        wait: Seconds that the end of a run waits for the server, at most.

    Example:
        :class:`~mtl_lightning.loggers.mlflow.MLflow` is one.
    """

    service: ClassVar[str]
    """Name of the service, for messages."""
    retry: ClassVar[float] = 10.0
    """Seconds between two attempts to reach the server."""

    def __init__(self, directory: Path, *, wait: float) -> None:
        super().__init__()
        self.directory, self.wait = directory, wait
        self._waiting: deque[Record] = deque()
        self._copied = False
        self._started()

    def _started(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = self._warned = False
        self._end = 0.0
        self._client: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "wait": self.wait, "_waiting": self._waiting, **self.settings()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _copied=True)
        self._started()

    # for subclasses

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Attributes that a copy in another process needs."""

    @abstractmethod
    def connect(self) -> Any:
        """Connect to the server and return a client, with the run that :meth:`known` names if it names one."""

    @abstractmethod
    def send_metrics(self, client: Any, metrics: dict[str, float], step: int) -> None:
        """Send values of a step."""

    @abstractmethod
    def send_params(self, client: Any, params: dict[str, Any]) -> None:
        """Send the configuration, nested."""

    @abstractmethod
    def send_files(self, client: Any, files: dict[str, Path]) -> None:
        """Send files by the name under which to keep them."""

    @abstractmethod
    def send_status(self, client: Any, status: Status) -> None:
        """Send how the run ended, and disconnect."""

    def registration(self, name: str) -> Callable[[Path], int]:
        """Check that exports can be registered under a name, which is refused unless a subclass can do it.

        Args:
            name: Name of the model in the service's registry.

        Returns:
            Function that registers the folder of an export, and returns the number of the new version.

        Raises:
            MtlError: If the service has no registry, can't be reached, or does not accept the name; the function
                raises it, too.
        """
        raise MtlError(f"register: exports can't be registered in {self.service}", "write register=mlflow:/NAME")

    def known(self) -> dict[str, Any]:
        """Identity kept by :meth:`remember` in an earlier start of this run; empty at the first start."""
        return dict((RunDirectory(self.directory).load_json(FILE) or {}).get(self.service, {}))

    def remember(self, identity: Mapping[str, Any]) -> None:
        """Keep what identifies this run on the server."""
        run = RunDirectory(self.directory)
        run.save_json(FILE, {**(run.load_json(FILE) or {}), self.service: dict(identity)})

    # Lightning's part

    @property
    def name(self) -> str:
        """Name of the group that the run belongs to: its recipe's."""
        return self.directory.resolve().parent.name

    @property
    def version(self) -> str:
        """Name of the run directory."""
        return self.directory.resolve().name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Queue values of a step."""
        self._queue("metrics", {name: float(value) for name, value in metrics.items()}, step or 0)
        self._start()

    def log_hyperparams(self, params: Mapping[str, Any], *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Queue the configuration. It is sent with the first values, by the process that trains."""
        self._queue("params", dict(params))

    def log_files(self, files: Mapping[str, Path]) -> None:
        """Queue files."""
        self._queue("files", dict(files))

    def finalize(self, status: str) -> None:
        """Close the copy of a spawned process, which ends after training; :meth:`close` is for the first process."""
        if self._copied:
            self.close("success" if status == "success" else "failed")

    def close(self, status: Status) -> None:
        """Send what is pending, for at most ``wait`` seconds. Records that follow continue the run."""
        self._queue("status", status)
        self._start()
        assert self._thread is not None
        with self._changed:
            self._closing, self._end = True, time.monotonic() + self.wait
            self._changed.notify()
        self._thread.join(self.wait)
        if self._waiting:
            count = f"{len(self._waiting)} records" if len(self._waiting) > 1 else "1 record"
            self._warn(f"{count} did not reach it. The run directory contains all values")
        elif not self._thread.is_alive():
            self._started()

    # the thread

    def _queue(self, kind: str, *values: Any) -> None:
        with self._changed:
            self._waiting.append((kind, values))
            self._changed.notify()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._deliver, name=f"logger {self.service}", daemon=True)
            self._thread.start()

    def _deliver(self) -> None:
        """Send records in their order until the logger is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                kind, values = self._waiting[0]
            try:
                if self._client is None:
                    self._client = self.connect()
                getattr(self, f"send_{kind}")(self._client, *values)
            except Exception as error:  # noqa: BLE001  of the client, the network or the server: never ends training
                if self._client is None or any(isinstance(cause, OSError) for cause in _causes(error)):
                    if not self._pause(error):
                        return
                    continue
                self._warn(f"{kind} were rejected: {line_of(error)}")
            with self._changed:
                self._waiting.popleft()

    def _pause(self, error: Exception) -> bool:
        """Wait before another attempt; False if the time for the rest has passed."""
        if not self._warned:
            self._warned = True
            self._warn(
                f"can't be reached: {line_of(error)}. Training continues, and the run directory contains all values"
            )
        with self._changed:
            if self._closing:
                self._changed.wait(min(self.retry, 1.0))
            else:
                self._changed.wait_for(lambda: self._closing, self.retry)
            return not self._closing or time.monotonic() < self._end

    def _warn(self, message: str) -> None:
        rank_zero_warn(f"logger {self.service}: {message}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def line_of(error: Exception) -> str:
    """Return an error as one line of at most 300 characters."""
    text = error.message if isinstance(error, MtlError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}…"
