"""The directory of one run: who chooses it, what lies in it, and how it is opened again."""

import json
import time
from pathlib import Path
from typing import Any, Self

import filelock

from mtl_lightning.errors import MtlError
from mtl_lightning.files import TEMPORARY, write_atomic
from mtl_lightning.runs.run_files import read_run_file

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
LOCK = "run.lock"
"""Held by the process that trains; what is left of it when the process has ended holds nobody up."""


class RunDirectory:
    """A run's files.

    Args:
        path: The directory; it need not exist on processes other than the first.

    Raises:
        MtlError: From :meth:`create` and :meth:`open`, when the directory is taken or is not a run's.

    Example:
        >>> import tempfile
        >>> run = RunDirectory.create("ads", Path(tempfile.mkdtemp()) / "first")
        >>> run.save_config("seed: 1")
        >>> RunDirectory.open(run.path).resume_checkpoint() is None
        True
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: filelock.BaseFileLock | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_lock": None}  # a process that gets a copy doesn't hold it

    @classmethod
    def create(cls, recipe: str, directory: Path | str | None = None) -> Self:
        """Make the directory and hold it; only the first process calls this.

        Args:
            recipe: Name or path of the recipe; its stem names the parent directory.
            directory: The user's own choice, or None for ``runs/<recipe>/<time>``.
        """
        if directory is not None:
            return cls._claim(Path(directory))
        parent = Path("runs") / (Path(recipe).stem or "run")
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for attempt in range(1, 1000):
            path = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise MtlError(f"the run directory {path} can't be made: {error.strerror}", "set run.dir=") from error
            run = cls(path)
            run.hold()
            return run
        raise MtlError(f"no free run directory below {parent}", "set run.dir=")

    @classmethod
    def _claim(cls, path: Path) -> Self:
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            run._check_empty()
            run.hold()
            run._check_empty()  # again: of two processes that saw it empty one has gone on
        except OSError as error:
            raise MtlError(f"run.dir: {path} can't be used: {error.strerror}") from error
        return run

    def _check_empty(self) -> None:
        if any(file.name != LOCK for file in self.path.iterdir()):
            raise MtlError(f"run.dir: {self.path} is not empty", f"to go on with the run in it: fit resume={self.path}")

    def hold(self) -> None:
        """Train here alone, until :meth:`release` or the end of this process, however it ends.

        Raises:
            MtlError: If another process trains here, or the directory can't be written.
        """
        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            message = f"{self.path} is in use: another process trains there"
            raise MtlError(message, "wait for it, or stop it and resume") from None
        except OSError as error:
            raise MtlError(f"the run directory {self.path} can't be written: {error.strerror}") from error
        self._lock = lock

    def release(self) -> None:
        """Let other processes train here; nothing happens if it isn't held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a run's directory to resume, test or predict."""
        run = cls(Path(path))
        if not run.path.is_dir():
            raise MtlError(f"no run directory {path}", cls._suggestion(run.path))
        if not run.config_file.is_file():
            raise MtlError(f"{path} is not a run directory: it has no config.yaml", cls._suggestion(run.path))
        return run

    @staticmethod
    def _suggestion(path: Path) -> str:
        parent = path if path.is_dir() else path.parent
        runs = sorted(parent.glob("*/config.yaml"), key=lambda file: file.stat().st_mtime) if parent.is_dir() else []
        return f"the newest run there is {runs[-1].parent}" if runs else "fit prints where it keeps its run"

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def transforms(self) -> Path:
        """The fitted transforms."""
        return self.path / "transforms" / "transforms.json"

    @property
    def base_transforms(self) -> Path:
        """Those of the run from which this one started."""
        return self.path / "transforms" / "base.json"

    @property
    def tensorboard(self) -> Path:
        """Where event files lie."""
        return self.path / "tensorboard"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation score."""
        return self.checkpoints / BEST

    def resume_checkpoint(self) -> Path | None:
        """The checkpoint from which training goes on, or None if there is none yet."""
        for name in (LAST, PREVIOUS):
            if (self.checkpoints / name).exists():  # what is no regular file is refused when it is read
                return self.checkpoints / name
        return None

    def weights(self) -> Path:
        """The checkpoint to evaluate: the best one, or the last if nothing was validated."""
        path = self.best if self.best.exists() else self.resume_checkpoint()
        if path is None:
            raise MtlError(f"{self.path} holds no checkpoint yet", f"train it first: fit resume={self.path}")
        return path

    def is_complete(self) -> bool:
        """Whether ``fit`` has nothing left to do: it ends with the evaluation of the test split."""
        record = self.load_json("metrics.json") or {}
        return bool(record.get("test") and record.get("complete", True))  # not there before it was recorded

    def clean(self) -> None:
        """Remove what was cut off while being written."""
        for partial in self.path.rglob(f"*{TEMPORARY}"):
            partial.unlink(missing_ok=True)

    def save_config(self, text: str) -> None:
        """Write the resolved configuration, plain YAML."""
        write_atomic(self.config_file, text)

    def save_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the run."""
        write_atomic(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def load_json(self, name: str) -> Any:
        """Read a JSON file of the run; None if it is not there."""
        path = self.path / name
        return read_run_file(path) if path.exists() else None
