"""The directory of one run: creating, locking and opening it, and the files in it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import filelock

from mtl_lightning.errors import MtlError
from mtl_lightning.files import TEMPORARY, write_atomic
from mtl_lightning.runs.run_files import read_run_file

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
LOCK = "run.lock"
"""Lock held by the training process. A stale lock file does not block anyone."""


class RunDirectory:
    """A run's files.

    Args:
        path: The directory. It need not exist on processes other than the first.

    Raises:
        MtlError: From :meth:`create` and :meth:`open`, if the directory is in use, or is not a run directory.

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
        self._created: list[Path] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_lock": None, "_created": []}  # a copy in another process does not hold the lock

    @classmethod
    def create(cls, recipe: str, directory: Path | str | None = None) -> Self:
        """Create the directory and lock it; only the first process calls this.

        Args:
            recipe: Name or path of the recipe; its stem names the parent directory.
            directory: The directory, empty or missing; None for ``runs/<recipe>/<time>``.
        """
        if directory is not None:
            return cls._claim(Path(directory))
        parent = Path("runs") / (Path(recipe).stem or "run")
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for attempt in range(1, 1000):
            path = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
            run = cls(path)
            run._created = _missing(path)
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                message = f"the run directory {path} can't be created: {error.strerror}"
                raise MtlError(message, "set run.dir=") from error
            run.hold()
            return run
        raise MtlError(f"no free run directory in {parent}", "set run.dir=")

    @classmethod
    def _claim(cls, path: Path) -> Self:
        run = cls(path)
        run._created = _missing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            run._check_empty()
            run.hold()
            run._check_empty()  # again: another process may have seen it empty and started first
        except OSError as error:
            raise MtlError(f"run.dir: {path} can't be used: {error.strerror}") from error
        return run

    def _check_empty(self) -> None:
        if any(file.name != LOCK for file in self.path.iterdir()):
            raise MtlError(f"run.dir: {self.path} is not empty", f"to resume the run in it: fit resume={self.path}")

    def discard(self) -> None:
        """Remove a directory that was just created, with the parents created for it; files in it are kept."""
        self.release()
        (self.path / LOCK).unlink(missing_ok=True)
        for path in self._created:
            try:
                path.rmdir()
            except OSError:  # not empty: a file of the user's, or another run
                break

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the directory for a block; see :meth:`hold`."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def hold(self) -> None:
        """Lock the directory until :meth:`release` or the end of this process, however it ends.

        Raises:
            MtlError: If another process holds the lock, or the directory can't be written.
        """
        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            message = f"{self.path} is in use: another process trains there"
            raise MtlError(message, "wait for it to end, or stop it and resume") from None
        except OSError as error:
            raise MtlError(f"the run directory {self.path} can't be written: {error.strerror}") from error
        self._lock = lock

    def release(self) -> None:
        """Release the lock; nothing happens if it isn't held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open the directory of an existing run, to resume, test or predict."""
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
        return f"the newest run there is {runs[-1].parent}" if runs else "fit prints the directory of its run"

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def transforms(self) -> Path:
        """The fitted transforms."""
        return self.path / "transforms" / "transforms.json"

    @property
    def base_transforms(self) -> Path:
        """Fitted transforms of the run that this one was warm-started from."""
        return self.path / "transforms" / "base.json"

    @property
    def latest(self) -> Path:
        """Folder with the latest events of users at the end of the log, of runs with histories."""
        return self.path / "transforms" / "latest"

    @property
    def base_latest(self) -> Path:
        """Latest events of the run that this one was warm-started from."""
        return self.path / "transforms" / "base-latest"

    @property
    def tensorboard(self) -> Path:
        """Directory of TensorBoard event files."""
        return self.path / "tensorboard"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation score."""
        return self.checkpoints / BEST

    def resume_checkpoint(self) -> Path | None:
        """The checkpoint to resume from, or None if there is none yet."""
        for name in (LAST, PREVIOUS):
            if (self.checkpoints / name).exists():  # anything but a regular file is refused when it is read
                return self.checkpoints / name
        return None

    def weights(self) -> Path:
        """The checkpoint to evaluate: the best one, or the last if nothing was validated."""
        path = self.best if self.best.exists() else self.resume_checkpoint()
        if path is None:
            raise MtlError(f"{self.path} has no checkpoint yet", f"train it first: fit resume={self.path}")
        return path

    def is_complete(self) -> bool:
        """True if ``fit`` has nothing left to do: its last step is the evaluation on the test split."""
        record = self.load_json("metrics.json") or {}
        return bool(record.get("test") and record.get("complete", True))  # earlier versions wrote no "complete"

    def clean(self) -> None:
        """Remove files whose writing was interrupted."""
        for partial in self.path.rglob(f"*{TEMPORARY}"):
            partial.unlink(missing_ok=True)

    def save_config(self, text: str) -> None:
        """Write the resolved configuration, plain YAML."""
        write_atomic(self.config_file, text)

    def save_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the run."""
        write_atomic(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def load_json(self, name: str) -> Any:
        """Read a JSON file of the run; None if it is missing."""
        path = self.path / name
        return read_run_file(path) if path.exists() else None


def _missing(path: Path) -> list[Path]:
    """The directory and its parents that do not exist yet, the innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]
